"""Continual semantic segmentation for Transformers: learn new classes, keep the old ones, see what was kept.

Names load on first use, so that commands which need no model answer at once; ``__init__.pyi`` lists them.
"""

from importlib.metadata import version

import lazy_loader

__version__ = version("sats")
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
