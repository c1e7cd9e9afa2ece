"""`sats data show`: the images it chooses, the sheet it draws, the figures it prints, what it refuses."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image, ImageFont

from fakes import random_source
from sats.cli import main as sats
from sats.commands import data_show
from sats.data.folder import open_folder
from sats.evaluation import contact_sheet as sheets
from sats.evaluation.contact_sheet import (
    CAPTION,
    GAP,
    GUTTER,
    INDENT,
    LEADING,
    MARGIN,
    WIDTH,
    choose,
    contact_sheet,
    reduced,
    unwritable,
)
from sats.evaluation.overlay import palette
from sats.types import BACKGROUND, IGNORE, NOT_LEARNED_YET
from sats.words import NOTHING
from test_extend import make_data
from test_layouts import voc

GREY = 100
CELL = 2 * WIDTH + GAP
CLASSES = ("background", "rickshaw", "cow", "tree")

Sample = tuple[Image.Image, NDArray[np.uint8], str]


def sample(*indices: int, size: tuple[int, int] = (320, 240), caption: str = "a") -> Sample:
    """A grey image (width, height) whose mask has an upright stripe for each class index."""
    columns = np.arange(size[0]) * len(indices) // size[0]
    labels = np.broadcast_to(np.array(indices, dtype=np.uint8)[columns], (size[1], size[0])).copy()
    return Image.new("RGB", size, (GREY, GREY, GREY)), labels, caption


def drawn(samples: list[Sample], classes: tuple[str, ...] = CLASSES) -> NDArray[np.uint8]:
    return np.asarray(contact_sheet([(image, (labels,), caption) for image, labels, caption in samples], classes))


def legend_of(sheet: NDArray[np.uint8], rows: int = 1, height: int = 180) -> NDArray[np.uint8]:
    """What a sheet shows below its grid of cells with pictures of ``height`` and the rule."""
    grid = rows * (height + CAPTION + LEADING) - LEADING
    return sheet[MARGIN + grid + MARGIN + 1 :]


def laid_over(index: int) -> NDArray[np.float64]:
    return palette()[index] * 0.6 + GREY * 0.4


def has(pixels: NDArray[np.uint8], colour: NDArray[np.uint8]) -> bool:
    return bool((pixels == colour).all(axis=-1).any())


def is_white(pixels: NDArray[np.uint8]) -> bool:
    return bool((pixels == 255).all())


# --- choosing images --------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    presence=st.tuples(st.integers(0, 12), st.integers(0, 6)).flatmap(lambda shape: arrays(bool, shape)),
    count=st.integers(1, 14),
    seed=st.integers(0, 99),
)
def test_chosen_images_hold_every_class_if_so_many_can(presence: NDArray[np.bool_], count: int, seed: int) -> None:
    chosen = choose(presence, count, seed)
    assert len(chosen) == len(set(chosen)) == min(count, len(presence))
    assert set(chosen) <= set(range(len(presence)))
    occurring = int(presence.any(axis=0).sum())
    assert presence[chosen].any(axis=0).sum() >= min(count, occurring)
    assert choose(presence, count, seed) == chosen


def test_the_rarest_class_comes_first_then_the_image_that_shows_most() -> None:
    presence = np.zeros((6, 4), dtype=bool)
    presence[:4, :3] = True  # three classes in four images
    presence[4:, 3] = True  # the rarest in two,
    presence[5, 2] = True  # one of which shows another as well
    for seed in range(5):
        assert choose(presence, 1, seed) == [5]
        assert presence[choose(presence, 2, seed)].all(axis=1).sum() == 0
        assert presence[choose(presence, 2, seed)].any(axis=0).all()


def test_the_seed_draws_among_equals() -> None:
    presence = np.ones((30, 2), dtype=bool)
    assert len({choose(presence, 1, seed)[0] for seed in range(20)}) > 5
    assert len({tuple(choose(presence, 3, seed)[1:]) for seed in range(20)}) > 5


# --- the sheet --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (4, 4, 1), (5, 3, 2), (12, 4, 3), (13, 4, 4)])
def test_cells_of_equal_size_stand_in_a_grid(count: int, columns: int, rows: int) -> None:
    sheet = drawn([sample(1) for _ in range(count)])
    width = columns * (CELL + GUTTER) - GUTTER
    assert sheet.shape[1] == 2 * MARGIN + width
    for place in range(count):
        top = MARGIN + place // columns * (180 + CAPTION + LEADING)
        left = MARGIN + place % columns * (CELL + GUTTER)
        cell = sheet[top : top + 180, left : left + CELL]
        assert (cell[:, :WIDTH] == GREY).all()
        assert is_white(cell[:, WIDTH : WIDTH + GAP])
        assert np.abs(cell[:, WIDTH + GAP :] - laid_over(1)).max() <= 1
        assert is_white(sheet[top : top + 180 + CAPTION, left + CELL : left + CELL + GUTTER])
    one_row = drawn([sample(1)])
    assert len(sheet) - len(one_row) == (rows - 1) * (180 + CAPTION + LEADING)


def test_colours_of_masks_are_those_of_the_legend() -> None:
    sheet = drawn([sample(BACKGROUND, 2), sample(3, IGNORE)])
    legend = legend_of(sheet)
    middle, quarter = MARGIN + 90, WIDTH // 4
    for place, pair in enumerate([(BACKGROUND, 2), (3, IGNORE)]):
        left = MARGIN + place * (CELL + GUTTER)
        for half, index in enumerate(pair):
            image, over = (sheet[middle, left + part * (WIDTH + GAP) + quarter * (1 + 2 * half)] for part in (0, 1))
            expected = laid_over(index) if index != BACKGROUND else np.full(3, GREY)
            assert (image == GREY).all()
            assert np.abs(over - expected).max() <= 1
    assert has(legend, palette()[2])
    assert has(legend, palette()[3])
    assert not has(legend, palette()[1])  # a class that does not occur
    assert not has(legend, palette()[BACKGROUND])  # nothing is drawn in black


def test_the_legend_lists_each_class_once_and_in_order() -> None:
    sheet = drawn([sample(3, 1), sample(1), sample(1, 3)])
    legend = legend_of(sheet)
    where = [np.flatnonzero((legend == palette()[index]).all(axis=-1).any(axis=0)) for index in (1, 3)]
    assert where[0].max() < where[1].min()
    assert all(np.ptp(columns) < sheets.SWATCH for columns in where)


@pytest.mark.parametrize(
    "name",
    [
        "<script>alert('x')</script>",
        "W" * 300,
        "سيارة إسعاف",
        "汽车",
        "",
        "a\nb\tc\x00\x1b[31m",
        "x" + "\u0301" * 50,
        "👩‍🚒",
    ],
)
def test_names_of_any_content(name: str) -> None:
    sheet = drawn([sample(1, 2, caption=name)], ("background", name, "cow"))
    legend = legend_of(sheet)
    assert all(is_white(edge) for edge in (sheet[:, : MARGIN - 4], sheet[:, -MARGIN + 4 :], sheet[-MARGIN + 4 :]))
    ink = (legend < 128).all(axis=-1)
    assert ink.any()
    plain = legend_of(drawn([sample(1, 2)], ("background", "?", "cow")))
    assert legend.shape != plain.shape or (legend != plain).any()


def test_a_name_is_written_whole_up_to_40_characters() -> None:
    legends = [legend_of(drawn([sample(1)], ("background", letters))) for letters in ("W" * 40, "W" * 41, "W" * 300)]
    assert legends[0].shape != legends[1].shape
    np.testing.assert_array_equal(legends[1], legends[2])
    ink = np.flatnonzero((legends[0] < 128).all(axis=-1).any(axis=0))
    needed = sheets._own_font().getlength("W" * 40)
    assert np.ptp(ink) == pytest.approx(needed, abs=4)
    assert needed > CELL  # so the page had to grow


@pytest.mark.parametrize("name", ["gj", "x\u0301\u0302\u0303", "\u1eaa\u0316\u0317"])
def test_lines_of_the_legend_do_not_touch(name: str) -> None:
    count = 60
    classes = tuple(f"{name} {'long ' * 6}{index:02}" for index in range(count + 1))
    sheet = drawn([sample(*range(1, count + 1))], classes)
    legend = legend_of(sheet)
    ink = np.flatnonzero((legend[MARGIN:, MARGIN + INDENT :] < 250).any(axis=(1, 2)))
    assert (np.diff(ink) > sheets.SPACING).sum() == count - 1  # that much white between lines, less within one
    swatches = [has(legend[:, MARGIN : MARGIN + INDENT], palette()[index]) for index in range(1, count + 1)]
    assert all(swatches)


def test_a_long_caption_stays_in_its_cell_and_keeps_both_ends() -> None:
    caption = "train/" + "deep/" * 40
    first, second = (
        drawn([sample(1, caption=caption + end), sample(1, caption="b")])[MARGIN + 180 :][:CAPTION] for end in "xy"
    )
    assert is_white(first[:, MARGIN + CELL : MARGIN + CELL + GUTTER])
    assert (first != second).any()
    line = sheets._cut(sheets._Line(caption, sheets._own_font()), CELL)
    head, _, tail = line.text.partition("…")
    assert head
    assert caption.startswith(head)
    assert caption.endswith(tail)
    assert CELL - 20 < line.width <= CELL


def test_images_of_very_different_shapes() -> None:
    sizes = [(320, 240), (1, 1), (5000, 3), (3, 4000), (2048, 1024), (64, 80), (322, 241)]
    sheet = drawn([sample(2, size=size) for size in sizes])
    assert sheet.shape[1] == 2 * MARGIN + 4 * CELL + 3 * GUTTER
    for place, (width, height) in enumerate(sizes):
        top = MARGIN + place // 4 * (180 + CAPTION + LEADING)
        left = MARGIN + place % 4 * (CELL + GUTTER)
        for part, colour in enumerate((np.full(3, GREY), laid_over(2))):
            box = sheet[top : top + 180, left + part * (WIDTH + GAP) :][:, :WIDTH]
            inside = np.abs(box - colour).max(axis=-1) <= 1
            rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
            scale = min(WIDTH / width, 180 / height)
            assert abs(len(columns) - max(1, width * scale)) <= 1
            assert abs(len(rows) - max(1, height * scale)) <= 1
            assert inside.sum() == len(rows) * len(columns)  # the picture alone, on white
            assert abs(columns.min() - (WIDTH - 1 - columns.max())) <= 1
            assert is_white(box[~inside])


@pytest.mark.parametrize(("size", "height"), [((100, 400), 360), ((200, 250), 300), ((900, 100), 120)])
def test_boxes_have_the_shape_of_most_images(size: tuple[int, int], height: int) -> None:
    usual = [sample(1, size=size) for _ in range(3)]
    same = len(drawn([*usual, sample(1, size=(777, 333))])) - len(drawn([sample(1)]))
    assert same == height - 180


def test_a_class_of_one_pixel_is_not_lost() -> None:
    image, labels, _ = sample(1, size=(3000, 2000))
    labels[1234, 2345] = 3
    small, marks = reduced(image, labels)
    assert small.size == marks.shape[::-1] == (480, 320)
    assert marks[1234 * 320 // 2000, 2345 * 480 // 3000] == 3
    assert sorted(np.unique(marks)) == [1, 3]
    assert has(legend_of(drawn([(small, marks, "")]), height=160), palette()[3])
    tiny = sample(1, size=(50, 40))
    assert reduced(*tiny[:2]) == tiny[:2]  # never enlarged


def test_sheets_are_drawn_of_any_source() -> None:
    source = random_source(num_foreground=9, images=10)
    chosen = choose(source.presence()[:, 1:], 10, seed=0)
    sheet = drawn([(source.image(index), source.mask(index), source.key(index)) for index in chosen], source.classes)
    for index in np.flatnonzero(source.presence().any(axis=0))[1:]:
        assert has(sheet[-160:], palette()[index])


def test_a_sheet_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one image"):
        contact_sheet([], CLASSES)


def test_a_font_of_the_system_writes_what_that_of_pillow_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.find_spec("matplotlib")  # which brings one, whatever the system has
    assert spec is not None
    assert spec.origin is not None
    font = ImageFont.truetype(Path(spec.origin).parent / "mpl-data/fonts/ttf/DejaVuSans.ttf", sheets.TEXT)
    monkeypatch.setattr(sheets, "_fallbacks", lambda: (font,))
    own = sheets._own_font()
    assert unwritable(["tree", "Straße", "سيارة", "汽车"]) == ["汽车"]
    assert sheets._plain("سيارة", 40) == "سيارة"  # without marks of direction, which some fonts show as boxes
    assert sheets._fonts(["tree", "cow"]) == [own, own]
    assert sheets._fonts(["tree", "Straße"]) == [font, font]  # one for all, where one can
    assert sheets._fonts(["tree", "Straße", "汽车"]) == [own, font, own]
    monkeypatch.setattr(sheets, "_fallbacks", lambda: ())
    assert unwritable(["tree", "Straße"]) == ["Straße"]
    assert sheets._fonts(["Straße"]) == [own]


def test_fonts_that_a_system_lacks_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheets, "FALLBACKS", ("no such font.ttf",))
    assert sheets._fallbacks.__wrapped__() == ()


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_data(tmp_path / "data", ("background", "rickshaw", "cow"))


def rows_of(shown: str) -> dict[str, list[str]]:
    """The cells of each printed row, by class or step."""
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in shown.splitlines() if "│" in line]
    return {row[-3]: row for row in rows}


def test_the_command_draws_a_sheet_and_prints_figures(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "sheet.png"
    data_show.main([str(data), "--out", str(out), "--images", "5", "--protocol", "1-1"])
    shown = capsys.readouterr().out
    with Image.open(out) as sheet:
        assert sheet.format == "PNG"
        assert sheet.width == 2 * MARGIN + 3 * CELL + 2 * GUTTER
        for index in (1, 2):
            assert has(np.asarray(sheet), palette()[index])
    assert [path.name for path in out.parent.iterdir()] == ["sheet.png"]
    assert f"5 images of 8: {out}" in shown
    assert [line.strip() for line in shown.splitlines()[:2]] == [
        "Classes in train: 8 images,",
        "pixels measured on all of them",
    ]
    assert "Not on the sheet" not in shown
    source = open_folder(data, "train")
    pixels = np.concatenate([source.mask(index).ravel() for index in range(8)])
    rows = rows_of(shown)
    for index, name in enumerate(source.classes):
        assert rows[name][-2:] == ["8", f"{100 * (pixels == index).mean():.2f}"]
    assert rows["(not labelled)"][-1] == f"{100 * (pixels == IGNORE).mean():.2f}"
    assert "Steps of 1-1, overlapped" in shown
    assert rows["1"][1:] == ["cow", "8"]


@pytest.mark.parametrize(("words", "background"), [([], NOT_LEARNED_YET), (["--has-background", "yes"], "void")])
def test_the_background_may_have_another_name(
    words: list[str], background: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "classes.txt").write_text("void\nrickshaw\ncow\n")
    data_show.main([str(data), *words, "--out", str(tmp_path / "sheet.png")])
    rows = rows_of(capsys.readouterr().out)
    assert next(name for name in rows if name in ("void", NOT_LEARNED_YET)) == background


def test_few_masks_are_measured_of_many(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(data_show, "MOST_MEASURED", 3)
    data_show.main([str(data), "--out", str(tmp_path / "sheet.png")])
    assert "pixels measured on 3 of them" in capsys.readouterr().out
    source = open_folder(data, "train")
    (first, measured), (again, _), (other, _) = (data_show.pixel_shares(source, seed) for seed in (0, 0, 1))
    assert measured == 3
    assert first.sum() == pytest.approx(1)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize(
    ("share", "text"), [(0.0, NOTHING), (0.000049, "<0.01"), (0.00005, "0.01"), (0.12345, "12.35"), (1, "100.00")]
)
def test_what_is_rare_is_told_from_what_is_not_there(share: float, text: str) -> None:
    assert data_show.percent(share) == text


def test_classes_that_do_not_fit_or_do_not_occur_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_data(tmp_path / "data", ("background", "tree"), images=2)
    mask = np.full((64, 80), 2, dtype=np.uint8)
    Image.fromarray(mask).save(root / "masks" / "train" / "1.png")
    (root / "classes.txt").write_text("background\ntree\ncow\n[red]moa[/]\n", encoding="utf-8")
    data_show.main([str(root), "--out", str(tmp_path / "sheet.png"), "--images", "1"])
    shown = capsys.readouterr().out
    assert ("Not on the sheet: tree." in shown) != ("Not on the sheet: cow." in shown)
    assert rows_of(shown)["[red]moa[/]"][-2:] == ["none", NOTHING]
    data_show.main([str(root), "--out", str(tmp_path / "sheet.png"), "--images", "9"])
    shown = capsys.readouterr().out
    assert "2 images of 2" in shown
    assert "Not on the sheet" not in shown


def test_names_that_no_font_can_write_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sheets, "_fallbacks", lambda: ())
    root = make_data(tmp_path / "data", ("background", "cow", "tree"), images=2)
    (root / "classes.txt").write_text("background\ncow\n汽车\n", encoding="utf-8")
    data_show.main([str(root), "--out", str(tmp_path / "sheet.png")])
    assert "No font here can write 汽车:" in capsys.readouterr().out


def test_the_seed_decides_the_sheet(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    written = []
    for seed in ("0", "0", "1"):
        data_show.main([str(data), "--out", str(out), "--images", "2", "--seed", seed])
        written.append(out.read_bytes())
    assert written[0] == written[1]
    assert written[0] != written[2]


def test_a_data_set_of_the_field_and_some_of_its_classes(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "camvid"
    root.mkdir()
    (data / "images" / "train").rename(root / "train")
    (data / "masks" / "train").rename(root / "trainannot")
    for file in (root / "trainannot").iterdir():  # ids 0 to 2 are sky, building and pole; 255 is no id of CamVid's
        with Image.open(file) as mask:
            ids = np.asarray(mask)
        Image.fromarray(np.where(ids == IGNORE, 11, ids).astype(np.uint8)).save(file)
    words = [str(root), "--source", "camvid", "--split", "train", "--classes", "pole,sky", "--images", "4"]
    with pytest.warns(UserWarning, match="CamVid has 367 images"):
        data_show.main([*words, "--out", str(tmp_path / "SHEET.PNG")])
    shown = capsys.readouterr().out
    rows = rows_of(shown)
    assert "Classes in train: 8 images" in shown
    assert rows["sky"][-2] == rows["pole"][-2] == "8"
    assert "building" not in rows
    with Image.open(tmp_path / "SHEET.PNG") as sheet:
        assert sheet.width == 2 * MARGIN + 4 * CELL + 3 * GUTTER


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--source", "camvit"], "There is no data set 'camvit'; did you mean 'camvid'?"),
        (["--source", "Folder"], "did you mean 'folder'?"),
        (["--out", "."], "is a folder: name the file to write with --out"),
        (["--out", "sheet.jpg"], "sheet.jpg does not end in .png"),
        (["--images", "0"], "1 to 64 images, not 0"),
        (["--images", "65"], "1 to 64 images, not 65"),
        (["--seed", "-1"], "A seed is not negative"),
        (["--split", "trian"], "no split 'trian'"),
        (["--classes", "cov"], "did you mean 'cow'?"),
        (["--protocol", "5-5"], "does not divide 2 classes"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(
    words: list[str], message: str, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(data)
    before = sorted(data.rglob("*"))
    assert sats(["data", "show", str(data), *words]) == 2
    assert message in capsys.readouterr().err
    assert sorted(data.rglob("*")) == before


def test_a_split_without_images_is_told(tmp_path: Path) -> None:
    voc(tmp_path)
    (tmp_path / "VOCdevkit" / "VOC2012" / "ImageSets" / "Segmentation" / "train_aug.txt").write_text("")
    with pytest.raises(ValueError, match="has no images in its split 'train': name another one"):
        data_show.main([str(tmp_path), "--source", "voc", "--out", str(tmp_path / "sheet.png")])
    assert not (tmp_path / "sheet.png").exists()


def test_help_fits_a_terminal_and_loads_nothing_heavy() -> None:
    script = """
import sys
from sats.cli import main
try:
    main(["data", "show", "--help"])
except SystemExit:
    pass
assert not {"torch", "transformers", "numpy", "PIL"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--protocol" in done.stdout
    assert max(len(line) for line in done.stdout.splitlines()) <= 80
