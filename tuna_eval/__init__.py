"""Scores instruction-tuned checkpoints on public benchmarks, with numbers that can be published."""

__version__ = "0.1.0"
