"""The figure of `tuna-train data stats`: response lengths by rank, and how similar an instruction's responses are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tuna_eval.disk import as_store_error
from tuna_eval.errors import ConfigError
from tuna_train.data.stats import BINS, DataStatistics


def plot_statistics(statistics: Mapping[str, DataStatistics], file: Path) -> None:
    """Draws the figure.

    Args:
        statistics: by label.
        file: its ending is the format.

    Raises:
        ConfigError: matplotlib is not installed, or it cannot write the format.
        StoreError: the file cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as fault:
        raise ConfigError(
            "matplotlib is not installed", place="--plot", cure="pip install 'tuna-llm[report]'"
        ) from fault
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    if file.suffix[1:].lower() not in FigureCanvasAgg(figure).get_supported_filetypes():
        raise ConfigError(f"no figure can be written as {file.suffix!r}", place="--plot", cure="use .png, .pdf or .svg")
    lengths, similarity = figure.subplots(1, 2)
    for label, found in statistics.items():
        places = range(1, len(found.lengths_by_rank) + 1)
        lengths.plot(places, found.lengths_by_rank, marker="o", label=label)
        if found.pairs:
            shares = [100 * count / found.pairs for count in found.histogram]
            similarity.stairs(shares, [edge / BINS for edge in range(BINS + 1)], label=label)
    units = sorted({found.unit.name for found in statistics.values()})
    lengths.set(xlabel="rank", ylabel=f"mean length ({', '.join(units)})", title="length by rank")
    longest = max((len(found.length_counts) for found in statistics.values()), default=0)
    lengths.set_xticks(range(1, longest + 1))
    similarity.set(xlabel="ROUGE-L F1 of two responses", ylabel="% of pairs", title="similarity", xlim=(0, 1))
    lengths.legend()
    with as_store_error(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, dpi=150)
