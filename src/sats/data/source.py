"""What a source of images and masks is, whatever it is stored in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image


UNCHANGED: Final = np.arange(256, dtype=np.uint8)
"""The table of ids that are class indices, or labels, already."""


class Source(ABC):
    """One split of a data set: images, masks of class indices, and the names of the classes.

    ``classes[0]`` is the background. Masks hold indices into ``classes``, or IGNORE. A source is opened in the
    main process and read in the loader's workers, so it must survive pickling; it holds paths or seeds, no
    open files. ``skipped`` says what was left out of it because it cannot be used, a sentence each.
    """

    classes: tuple[str, ...]
    skipped: tuple[str, ...] = ()

    @abstractmethod
    def __len__(self) -> int:
        """The number of images."""

    @abstractmethod
    def key(self, index: int) -> str:
        """A name for image ``index`` that stays the same from run to run."""

    def domain(self, index: int) -> str:
        """The domain of image ``index``, such as a city: the folders below its split; empty where there are none."""
        return "/".join(self.key(index).split("/")[1:-1])

    @abstractmethod
    def image(self, index: int, scale: float = 1.0) -> Image.Image:
        """Image ``index``, in RGB; it may be smaller than it is, but not below ``scale`` times its size."""

    @abstractmethod
    def mask(self, index: int) -> NDArray[np.uint8]:
        """The class index of every pixel of image ``index``: [H, W], IGNORE where unknown."""

    def stored_mask(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """What `mask` is made of: ids [H, W], and the class index of each id [256]."""
        return self.mask(index), UNCHANGED

    @abstractmethod
    def size(self, index: int) -> tuple[int, int]:
        """Height and width of image ``index``, without decoding it."""

    @abstractmethod
    def presence(self) -> NDArray[np.bool_]:
        """Which classes each image holds: [images, classes]; column 0 (background) is never asked for."""
