"""Line charts by matplotlib, as SVG that stands in the page: text stays text, colours are the page's."""

from __future__ import annotations

import io
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET  # our own SVG, written a moment before

from sats.progress import waiting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes as PlotAxes
    from matplotlib.figure import Figure

Point = tuple[float, float]
Tick = tuple[float, str]

WIDTH, HEIGHT = 360.0, 236.0
"""Points of SVG, which on the page are pixels or less."""
LEFT, RIGHT, TOP, BOTTOM = 38.0, 46.0, 12.0, 40.0
"""Margins: for the ticks of y, the last values, the highest line, and the ticks and title of x."""
TEXT_HEIGHT = 13.0
SMALL, NORMAL = 11.5, 12.0
"""Sizes of ticks, and of the last values."""
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES = ((0, ()), (0, (7, 3)), (0, (1.5, 2.5)), (0, (8, 3, 1.5, 3)), (0, (3, 2)), (0, (12, 3)))
STYLES: Final = 6
"""Colours and markers; of more lines with markers the seventh looks like the first, but dashed."""
MOST_ENDS: Final = 6
"""Lines whose last values are written beside them; of more they would hide the lines."""
BOLD, THIN = 2.0, 1.2
MUTED, INK, LINE, LEVEL = "#000001", "#000002", "#000003", "#000004"
"""Stand for colours of the page, which matplotlib cannot know."""
SERIES = tuple(f"#0000{16 + index}" for index in range(STYLES))
PAGE = {MUTED: "var(--muted)", INK: "var(--ink)", LINE: "var(--line)", LEVEL: "var(--level)"} | {
    colour: f"var(--c{index})" for index, colour in enumerate(SERIES)
}
SVG = "{http://www.w3.org/2000/svg}"
FONT = re.compile(r"font-family:[^;]*;?\s*")
COLOUR = re.compile(r"#[0-9a-f]{6}")
WHITE = re.compile(r"\s+")
XLINK = "{http://www.w3.org/1999/xlink}href"


@dataclass(frozen=True)
class Series:
    """Values over x to draw in style ``style``; with ``is_level`` one value, drawn right across.

    ``band`` holds the lowest and highest of what each value is the mean of; empty: it is of nothing.
    """

    name: str
    style: int
    points: tuple[Point, ...]
    is_level: bool = False
    band: tuple[Point, ...] = ()


@dataclass(frozen=True)
class Axes:
    """What a chart's axes say, and with how many ``decimals`` its values are written."""

    x_title: str
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[float]
    decimals: int


@dataclass(frozen=True)
class Chart:
    """A drawn chart: ``svg`` for the page, and the lines by name, style and whether they are level, for a legend."""

    title: str
    svg: str
    lines: tuple[Series, ...]
    is_marked: bool


def round_ticks(values: Sequence[float]) -> list[float]:
    """A few round numbers, 0 among them, that ``values`` lie between."""
    lowest, highest = min([0.0, *values]), max([0.0, *values])
    if lowest == highest:
        return [0.0, 1.0]
    unit = 10.0 ** math.floor(math.log10(highest - lowest))
    step = next(size * unit for size in (0.2, 0.25, 0.5, 1.0, 2.0) if highest - lowest <= 5 * size * unit * (1 + 1e-9))
    first, last = math.floor(lowest / step + 1e-9), math.ceil(highest / step - 1e-9)
    return [index * step for index in range(first, last + 1)]


def chart(title: str, series: Sequence[Series], axes: Axes, is_marked: bool = True) -> Chart:
    """The chart of ``series``, none of which lies outside the ticks of y; the same for the same values, byte for byte.

    With ``is_marked`` each value has a marker that says it; without, lines are told apart by dashes as well.
    """
    with waiting("loading matplotlib"):
        import matplotlib as mpl
        from matplotlib.figure import Figure

    lines = [one for one in series if one.points]
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": title, "font.size": SMALL, "axes.linewidth": 0.0}):
        figure = Figure(figsize=(WIDTH / 72, HEIGHT / 72))
        plot = _plot(figure, axes)
        if not is_marked:
            plot.grid(axis="x", color=LINE, linewidth=1)
        width = max([x for one in lines for x, _ in one.points] + [x for x, _ in axes.x_ticks], default=1.0) or 1.0
        plot.set_xlim(0, width)
        for one in lines:
            _draw(plot, one, width, is_marked)
        _write_ends(plot, lines, axes.decimals)
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    texts = {f"line-{index}": _texts(one, axes.decimals) for index, one in enumerate(lines)} if is_marked else {}
    return Chart(title, for_page(drawn.getvalue(), title, texts), tuple(lines), is_marked)


def _plot(figure: Figure, axes: Axes) -> PlotAxes:
    """An empty plot with its axes."""
    plot = figure.add_axes(
        (LEFT / WIDTH, BOTTOM / HEIGHT, 1 - (LEFT + RIGHT) / WIDTH, 1 - (TOP + BOTTOM) / HEIGHT),
    )
    figure.patch.set_visible(False)
    plot.patch.set_visible(False)
    plot.set_xticks([x for x, _ in axes.x_ticks], [text for _, text in axes.x_ticks])
    plot.set_yticks(axes.y_ticks, [f"{y:g}".replace("-", "\N{MINUS SIGN}") for y in axes.y_ticks])
    plot.set_ylim(axes.y_ticks[0], axes.y_ticks[-1])
    plot.set_xlabel(axes.x_title, color=MUTED, fontsize=SMALL, labelpad=4)
    plot.tick_params(bottom=False, left=False, pad=6, labelcolor=MUTED, labelsize=SMALL)
    plot.spines[:].set_visible(False)
    plot.grid(visible=True, axis="y", color=LINE, linewidth=1)
    return plot


def _draw(plot: PlotAxes, series: Series, width: float, is_marked: bool) -> None:
    x, y = zip(*series.points, strict=True)
    number = len(plot.lines)
    if series.is_level:
        plot.plot([0, width], [y[-1]] * 2, color=LEVEL, linewidth=1.6, dashes=(4, 3))
        return
    colour = SERIES[series.style % STYLES]
    if series.band:
        low, high = zip(*series.band, strict=True)
        plot.fill_between(x, low, high, color=colour, alpha=0.16, linewidth=0)
    style = series.style % STYLES
    (line,) = plot.plot(x, y, color=colour, linewidth=BOLD, gid=f"line-{number}", clip_on=False)
    if is_marked:
        line.set(marker=MARKERS[style], markersize=7, markeredgewidth=0)
    line.set_linestyle(DASHES[series.style // STYLES % len(DASHES) if is_marked else style])


def _texts(series: Series, decimals: int) -> list[str]:
    """What each value's marker says."""
    texts = []
    for index, (_, y) in enumerate(series.points):
        text = f"{series.name}: {y:.{decimals}f}"
        if series.band:
            low, high = series.band[index]
            text += f" ({low:.{decimals}f} to {high:.{decimals}f})"
        texts.append(text)
    return texts


def _write_ends(plot: PlotAxes, lines: Sequence[Series], decimals: int) -> None:
    """The last value of each line that goes all across, moved apart so that none is written over another."""
    lowest, highest = plot.get_ylim()
    unit = (HEIGHT - TOP - BOTTOM) / (highest - lowest)
    if len(lines) > MOST_ENDS:
        return
    ends = [one.points[-1][1] for one in lines if one.is_level or one.points[-1][0] > 0.9 * plot.get_xlim()[1]]
    heights = apart([(end - lowest) * unit for end in ends], TEXT_HEIGHT, HEIGHT - TOP - BOTTOM)
    for end, height in zip(ends, heights, strict=True):
        text = f"{end:.{decimals}f}".replace("-", "\N{MINUS SIGN}")
        place = (WIDTH - LEFT - RIGHT + 8, height)
        plot.annotate(
            text, place, xycoords="axes points", color=INK, fontsize=NORMAL, va="center_baseline", annotation_clip=False
        )


def apart(heights: Sequence[float], least: float, top: float) -> list[float]:
    """``heights`` moved until they are ``least`` apart, none above ``top`` while there is room below."""
    order = sorted(range(len(heights)), key=lambda index: (heights[index], index))
    moved = list(heights)
    limit = -math.inf
    for index in order:
        limit = moved[index] = max(moved[index], limit)
        limit += least
    limit = top
    for index in reversed(order):
        limit = moved[index] = min(moved[index], limit)
        limit -= least
    return moved


# --- from a file to a part of a page ----------------------------------------------------------------------------------


def for_page(text: str, title: str, texts: dict[str, list[str]]) -> str:
    """Matplotlib's SVG ``text`` as an element of a page.

    Its size is the page's to choose, its colours are variables there, and nothing in it styles, or names, what is
    around it. ``texts`` are what the markers of each line say, by the line's id.
    """
    root = ET.fromstring(text)  # noqa: S314 (ours)
    for child in [child for child in root if child.tag == f"{SVG}metadata" or child.find(f"{SVG}style") is not None]:
        root.remove(child)
    for name in ("width", "height", "version"):
        del root.attrib[name]
    root.attrib |= {"role": "img", "tabindex": "0", "aria-label": f"{title}; the numbers are in the table below"}
    for line in root.iter(f"{SVG}g"):
        marks = line.iter(f"{SVG}use")
        for mark, words in zip(marks, texts.get(line.get("id", ""), []), strict=False):
            ET.SubElement(mark, f"{SVG}title").text = words
    for element in root.iter():
        _adapt(element)
    return WHITE.sub(" ", ET.tostring(root, encoding="unicode"))


def _adapt(element: ET.Element) -> None:
    """Make an element of SVG one of a page: plain tags, the page's colours and font, no id that nothing refers to."""
    element.tag = element.tag.removeprefix(SVG)
    element.tail = None
    if element.tag == "g":
        element.text = None
        element.attrib.pop("id", None)
    if XLINK in element.attrib:
        element.set("href", element.attrib.pop(XLINK))
    style = element.get("style", "")
    if style:
        element.set("style", COLOUR.sub(lambda found: PAGE.get(found[0], found[0]), FONT.sub("", style)))
    if element.get("transform", "").startswith("rotate(-0 "):
        del element.attrib["transform"]
