"""Scores instruction-tuned checkpoints on Super-NaturalInstructions, LMentry and Vicuna QA."""

__version__ = "0.1.0"
