"""`tuna-train rl`: from parsed options to one call."""

from __future__ import annotations

import argparse

from tuna_train.config import RlConfig, read_config
from tuna_train.places import KEYS, naming


def rl_command(options: argparse.Namespace) -> int:
    """Tunes a policy by reinforcement learning with a proxy ranking model as reward."""
    config = read_config(RlConfig, options.config, options.assignments)
    # Imported when the configuration is right: torch takes seconds.
    from tuna_train.commands.train import open_progress
    from tuna_train.rlhf import fit_rl

    with naming(KEYS):
        fit_rl(config, open_progress())
    return 0
