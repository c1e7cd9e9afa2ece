"""A contact sheet: images, each beside what its mask or a model says of it, over a legend of the colours."""

from __future__ import annotations

import math
import statistics
from bisect import bisect_right
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sats.errors import RunError
from sats.evaluation.overlay import overlay, palette
from sats.types import BACKGROUND, IGNORE
from sats.words import END_ISOLATE, ISOLATE, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray
    from PIL.ImageFont import FreeTypeFont

    Labels = NDArray[np.uint8]
    Sample = tuple[Image.Image, tuple[Labels, ...], str]

PICTURES: Final = 8
"""Pictures side by side at most, unless one cell holds more: an image and each of its maps."""
WIDTH: Final = 240
"""Pixels that a picture is wide at most."""
FLATTEST, TALLEST = 0.5, 1.5
"""Bounds of a picture's height, in widths; within them the sheet has the shape of most of its images."""
SHARPNESS: Final = 2
"""Pictures are coloured at this multiple of their size and then reduced, which smooths the masks' edges."""
GAP, GUTTER, LEADING, MARGIN = 6, 36, 28, 48
"""Pixels between an image and its overlay, between cells side by side and one above the other, around the page."""
TEXT: Final = 16
CAPTION, SPACING, DESCENT = 28, 12, 4
"""Pixels: a caption's height, between the lines of a legend, and what a line takes below its base at least."""
SWATCH, INDENT = 16, 26
"""Pixels: the side of a legend's swatch, and from its left edge to the name."""
LONGEST_NAME, LONGEST_CAPTION = 40, 400
WHITE, INK, QUIET, FAINT, RULE = (255,) * 3, (34,) * 3, (102,) * 3, (168,) * 3, (216,) * 3
NOT_LABELLED: Final = "not labelled"
NO_CHARACTER: Final = "\U0010ffff"  # no font has it, so that it is drawn as whatever a font lacks
FALLBACKS: Final = (
    *("DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf", "Arial Unicode.ttf", "arial.ttf"),
    *("NotoSansCJK-Regular.ttc", "wqy-microhei.ttc", "msyh.ttc", "PingFang.ttc", "Hiragino Sans GB.ttc"),
    *("NotoSansArabic-Regular.ttf", "NotoNaskhArabic-Regular.ttf", "NotoSansDevanagari-Regular.ttf", "Nirmala.ttf"),
)
"""Files of fonts that systems have, for names that the one of Pillow cannot write: it knows little beside ASCII."""


def choose(presence: NDArray[np.bool_], count: int, seed: int) -> list[int]:
    """At most ``count`` images that together hold every class, if so few can; others drawn at random fill up.

    ``presence`` [images, classes]. One class after the other, the one in the fewest images first: of the images that
    hold it, the one with the most classes that no image before has. Equals are told apart at random, by ``seed``.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(presence))
    has = presence[order]
    rarity = has.sum(axis=0) + rng.random(has.shape[1])
    missing = has.any(axis=0)
    chosen: list[int] = []
    while missing.any() and len(chosen) < count:
        rarest = np.where(missing, rarity, np.inf).argmin()
        holders = np.flatnonzero(has[:, rarest])
        chosen.append(int(holders[has[holders][:, missing].sum(axis=1).argmax()]))
        missing &= ~has[chosen[-1]]
    others = np.setdiff1d(np.arange(len(has)), chosen)
    return [int(order[index]) for index in [*chosen, *others][:count]]


def reduced(image: Image.Image, labels: Labels) -> tuple[Image.Image, Labels]:
    """An image and its labels [H, W] no larger than a sheet needs them, so that many fit into memory."""
    width, height = _fitted(image.size, (SHARPNESS * WIDTH, round(SHARPNESS * WIDTH * TALLEST)))
    if width >= image.width:
        return image, labels
    return image.resize((width, height), Image.Resampling.LANCZOS), _scaled(labels, (width, height))


def contact_sheet(samples: Sequence[Sample], classes: Sequence[str]) -> Image.Image:
    """Draw images with maps laid over them, and the colour of each class that occurs.

    A sample is an RGB image, maps of it [H, W] (indices into ``classes``, or IGNORE), as many for each sample, and a
    caption. Cells are of equal size. ValueError if there are no samples.
    """
    if not samples:
        raise ValueError("A contact sheet shows at least one image: give some.")
    called = {**dict(enumerate(classes)), IGNORE: NOT_LABELLED}
    found = sorted({int(index) for _, maps, _ in samples for labels in maps for index in np.unique(labels)})
    names = [_plain(called[index], LONGEST_NAME) for index in found]
    captions = [_plain(caption, LONGEST_CAPTION) for _, _, caption in samples]
    fonts = _fonts([*names, *captions])
    lines = [_Line(text, font) for text, font in zip([*names, *captions], fonts, strict=True)]
    height = _box_height([image.size for image, _, _ in samples])
    cells = [
        _cell(_side_by_side(image, maps, height), line)
        for (image, maps, _), line in zip(samples, lines[len(names) :], strict=True)
    ]
    grid = _grid(cells, max(1, PICTURES // (1 + len(samples[0][1]))))
    return _page(grid, _legend(found, lines[: len(names)], grid.width))


# --- cells ------------------------------------------------------------------------------------------------------------


def _box_height(sizes: Sequence[tuple[int, int]]) -> int:
    """The height of every picture's box, in the shape of most images of these ``sizes`` (width, height)."""
    shape = statistics.median(height / width for width, height in sizes)
    return round(WIDTH * min(TALLEST, max(FLATTEST, shape)))


def _fitted(size: tuple[int, int], box: tuple[int, int]) -> tuple[int, int]:
    """The largest size of the same shape within ``box``, all of them (width, height)."""
    scale = min(box[0] / size[0], box[1] / size[1])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _scaled(labels: Labels, size: tuple[int, int]) -> Labels:
    """Labels brought to ``size`` (width, height); a class too small to be hit by the new grid keeps some pixel."""
    scaled = np.array(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))
    for lost in np.setdiff1d(labels, scaled):
        rows, columns = np.nonzero(labels == lost)
        scaled[rows * size[1] // labels.shape[0], columns * size[0] // labels.shape[1]] = lost
    return scaled


def _side_by_side(image: Image.Image, maps: Sequence[Labels], height: int) -> Image.Image:
    """An image and the overlay of each map, each in the middle of a white box of WIDTH x ``height`` pixels."""
    width_inside, height_inside = _fitted(image.size, (WIDTH, height))
    size = (SHARPNESS * width_inside, SHARPNESS * height_inside)
    large = image.resize(size, Image.Resampling.LANCZOS)
    pictures = [large, *(overlay(large, _scaled(labels, size)) for labels in maps)]
    row = Image.new("RGB", (len(pictures) * (WIDTH + GAP) - GAP, height), WHITE)
    for place, picture in enumerate(pictures):
        left = place * (WIDTH + GAP) + (WIDTH - width_inside) // 2
        row.paste(picture.reduce(SHARPNESS), (left, (height - height_inside) // 2))
    return row


def _cell(pictures: Image.Image, caption: _Line) -> Image.Image:
    cell = Image.new("RGB", (pictures.width, pictures.height + CAPTION), WHITE)
    cell.paste(pictures)
    line = _cut(caption, cell.width)
    ImageDraw.Draw(cell).text((0, cell.height - 4), line.text, QUIET, line.font, anchor="ls")
    return cell


def _grid(cells: Sequence[Image.Image], most: int) -> Image.Image:
    """Cells of one size, at most so many in a row, in as few rows as that allows, and as even."""
    rows = math.ceil(len(cells) / most)
    columns = math.ceil(len(cells) / rows)
    across, down = cells[0].width + GUTTER, cells[0].height + LEADING
    grid = Image.new("RGB", (columns * across - GUTTER, rows * down - LEADING), WHITE)
    for place, cell in enumerate(cells):
        grid.paste(cell, (place % columns * across, place // columns * down))
    return grid


# --- legend and page --------------------------------------------------------------------------------------------------


def _legend(found: Sequence[int], lines: Sequence[_Line], width: int) -> Image.Image:
    """The colours and names of the classes ``found``, down one column after the other, ``width`` pixels or more."""
    above, below = max(line.above for line in lines), max(line.below for line in lines)
    across, down = INDENT + max(line.width for line in lines) + GUTTER, above + below + SPACING
    rows = math.ceil(len(lines) / max(1, (width + GUTTER) // across))
    columns = math.ceil(len(lines) / rows)
    legend = Image.new("RGB", (max(width, columns * across - GUTTER), rows * down - SPACING), WHITE)
    draw = ImageDraw.Draw(legend)
    for place, (index, line) in enumerate(zip(found, lines, strict=True)):
        left, base = place // rows * across, place % rows * down + above
        _swatch(draw, index, left, base)
        draw.text((left + INDENT, base), line.text, INK, line.font, anchor="ls")
    return legend


def _swatch(draw: ImageDraw.ImageDraw, index: int, left: int, base: int) -> None:
    """A square of the colour of class ``index`` on the line; a crossed out one for the background, which has none."""
    red, green, blue = (int(value) for value in palette()[index])
    colour = WHITE if index == BACKGROUND else (red, green, blue)
    outline = FAINT if colour == WHITE else colour
    top, right, bottom = base - SWATCH + 2, left + SWATCH - 1, base + 1
    draw.rounded_rectangle((left, top, right, bottom), 3, colour, outline)
    if index == BACKGROUND:
        draw.line((left + 2, bottom - 2, right - 2, top + 2), FAINT)


def _page(grid: Image.Image, legend: Image.Image) -> Image.Image:
    """The grid over the legend, a rule between them, on white."""
    width = max(grid.width, legend.width)
    page = Image.new("RGB", (width + 2 * MARGIN, grid.height + legend.height + 4 * MARGIN), WHITE)
    page.paste(grid, (MARGIN, MARGIN))
    rule = MARGIN + grid.height + MARGIN
    ImageDraw.Draw(page).line((MARGIN, rule, MARGIN + width - 1, rule), RULE)
    page.paste(legend, (MARGIN, rule + MARGIN))
    return page


# --- text -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Line:
    """Some text in a font; ``above`` and ``below`` its base line it takes so many pixels, and ``width``."""

    text: str
    font: FreeTypeFont

    @property
    def width(self) -> int:
        return math.ceil(max(self.font.getlength(self.text), self.font.getbbox(self.text, anchor="ls")[2]))

    @property
    def above(self) -> int:
        return max(SWATCH, math.ceil(-self.font.getbbox(self.text, anchor="ls")[1]))

    @property
    def below(self) -> int:
        return max(DESCENT, math.ceil(self.font.getbbox(self.text, anchor="ls")[3]))


def unwritable(names: Iterable[str]) -> list[str]:
    """The ``names`` with characters that no font here has, so that a sheet shows boxes for them."""
    return [name for name in names if _font(_plain(name, LONGEST_NAME)) is None]


def _plain(text: str, limit: int) -> str:
    """``text`` on one line, without the marks that would part it from text around it."""
    return shown(text, limit).strip(ISOLATE + END_ISOLATE)


def _cut(line: _Line, width: int) -> _Line:
    """The line, with as much left out of its middle as makes it fit into ``width`` pixels."""

    def kept(count: int) -> _Line:
        tail = count // 2
        return _Line(f"{line.text[: count - tail]}…{line.text[len(line.text) - tail :]}", line.font)

    if line.width <= width:
        return line
    return kept(max(0, bisect_right(range(len(line.text)), width, key=lambda count: kept(count).width) - 1))


def _fonts(texts: Sequence[str]) -> list[FreeTypeFont]:
    """A font for each text: if one can write all, that one, else the first that can write it."""
    common = _font("".join(texts))
    return [common or _font(text) or _own_font() for text in texts]


def _font(text: str) -> FreeTypeFont | None:
    """The first font that has every character of ``text``; None if none has."""
    characters = {character for character in text if not character.isspace()} - {"\N{REPLACEMENT CHARACTER}"}
    if all(_has(_own_font(), character) for character in characters):
        return _own_font()
    return next((font for font in _fallbacks() if all(_has(font, character) for character in characters)), None)


@lru_cache(maxsize=10_000)
def _has(font: FreeTypeFont, character: str) -> bool:
    """Whether the font draws the character as something else than what it draws for those it lacks."""
    drawn, lacking = font.getmask(character), font.getmask(NO_CHARACTER)
    return drawn.size != lacking.size or bytes(drawn) != bytes(lacking)


@cache
def _own_font() -> FreeTypeFont:
    font = ImageFont.load_default(TEXT)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise RunError("This Pillow was built without FreeType and cannot draw text: install Pillow from PyPI.")
    return font


@cache
def _fallbacks() -> tuple[FreeTypeFont, ...]:
    fonts = []
    for name in FALLBACKS:
        with suppress(OSError):  # not on this system
            fonts.append(ImageFont.truetype(name, TEXT))
    return tuple(fonts)
