"""`tuna-train prm`: from parsed options to one call."""

from __future__ import annotations

import argparse

from tuna_train.config import PrmConfig, read_config
from tuna_train.places import KEYS, naming


def prm_command(options: argparse.Namespace) -> int:
    """Trains a proxy ranking model and tells how well it orders held-out candidates, before and after."""
    config = read_config(PrmConfig, options.config, options.assignments)
    # Imported when the configuration is right: torch takes seconds.
    from tuna_train.commands.train import open_progress
    from tuna_train.prm.fit import fit_prm

    with naming(KEYS):
        fit_prm(config, open_progress())
    return 0
