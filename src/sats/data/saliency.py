"""Which pixels look like an object: maps from a folder, or computed from the image (for methods that use them)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from sats.data.index import read_mask
from sats.files import at_home
from sats.words import count

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

SPECTRAL_RESIDUAL = "spectral-residual"
EVERYWHERE = "everywhere"
SIDE = 64
"""Pixels per side at which the spectral residual is computed."""
BLUR = 2.5
OBJECT = 3.0
"""An object is where saliency is so many times its mean over the image."""


class Saliency(ABC):
    """Tells salient pixels; survives pickling, as it runs in the loader's workers."""

    @abstractmethod
    def salient(self, key: str, image: Image.Image) -> NDArray[np.bool_]:
        """The salient pixels of ``image`` (RGB), which its source calls ``key``: [H, W]."""

    def check(self, keys: Iterable[str]) -> None:
        """ValueError if something is missing for one of ``keys``."""


@dataclass(frozen=True)
class SpectralResidual(Saliency):
    """Hou and Zhang, CVPR 2007: what the log spectrum has beyond its local mean; salient from 3 times the mean on."""

    def salient(self, key: str, image: Image.Image) -> NDArray[np.bool_]:  # noqa: ARG002 (of the image alone)
        """Compute the salient pixels."""
        from scipy.ndimage import gaussian_filter, uniform_filter  # a tenth of a second that other methods do not need

        grey = np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR), dtype=np.float64)
        spectrum = np.fft.fft2(grey)
        amplitude = np.log(np.abs(spectrum) + 1e-8)
        residual = amplitude - uniform_filter(amplitude, size=3, mode="wrap")
        saliency = np.abs(np.fft.ifft2(np.exp(residual + 1j * np.angle(spectrum)))) ** 2
        saliency = gaussian_filter(saliency, BLUR)
        found = Image.fromarray((saliency > OBJECT * saliency.mean()).astype(np.uint8))
        return np.asarray(found.resize(image.size, Image.Resampling.NEAREST)).astype(bool)


@dataclass(frozen=True)
class Everywhere(Saliency):
    """Every pixel, as SSUL's code has it for ADE20K, which has no maps."""

    def salient(self, key: str, image: Image.Image) -> NDArray[np.bool_]:  # noqa: ARG002 (the same for all)
        """All pixels."""
        return np.ones((image.height, image.width), dtype=bool)


@dataclass(frozen=True)
class SaliencyFolder(Saliency):
    """Maps as PNG files below ``folder``, named as the images below ``images/``; salient where they are above 0."""

    folder: Path

    def salient(self, key: str, image: Image.Image) -> NDArray[np.bool_]:
        """Read the salient pixels; ValueError if the map is missing or has another size."""
        path = self._path(key)
        found = read_mask(str(path))
        if found.size != image.size:
            raise ValueError(
                f"The saliency map {path} has {found.width} x {found.height} pixels, its image {image.width} x "
                f"{image.height}: make it as large."
            )
        return np.asarray(found) > 0

    def check(self, keys: Iterable[str]) -> None:
        """ValueError if a map is missing."""
        missing = [path for key in keys if not (path := self._path(key)).is_file()]
        if missing:
            what = count(len(missing), "saliency map is", "saliency maps are")
            which = missing[0] if len(missing) == 1 else f"first: {missing[0]}"
            raise ValueError(
                f"{what} missing ({which}): add what is missing, or have all of them computed with --data.saliency "
                f"{SPECTRAL_RESIDUAL}."
            )

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.png"


def open_saliency(setting: str) -> Saliency:
    """What ``setting`` names: "spectral-residual", "everywhere", or a folder of maps; ValueError if it is none."""
    if setting == SPECTRAL_RESIDUAL:
        return SpectralResidual()
    if setting == EVERYWHERE:
        return Everywhere()
    folder = at_home(setting)
    if not folder.is_dir():
        raise ValueError(
            f"data.saliency is {setting!r}, which is not a folder: name one with maps, or {SPECTRAL_RESIDUAL!r} or "
            f"{EVERYWHERE!r}."
        )
    return SaliencyFolder(folder)
