"""Pure tensor functions, one family a file.

Names load on first use, so that a method's settings can be read and printed without importing torch;
``__init__.pyi`` lists them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
