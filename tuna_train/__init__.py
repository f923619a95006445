"""Trains instruction models from the feedback of stronger models."""

__version__ = "0.1.0"
