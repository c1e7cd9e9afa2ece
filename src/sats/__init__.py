"""Continual semantic segmentation for Transformers: learn new classes, keep the old ones, see what was kept."""

from importlib.metadata import version

__version__ = version("sats")
