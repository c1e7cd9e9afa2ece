"""`sats app`: what stands behind the page. How it looks and works in a browser: test_app_browser.py."""

from __future__ import annotations

import dataclasses
import json
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sats
from networks import foreign
from reports import HOSTILE, Page, write_run
from sats.app import collection as collecting
from sats.app.collection import NEW, Collection, as_new_class
from sats.app.desk import make_desk
from sats.app.drawing import side_by_side, write_masks
from sats.app.extending import Extensions, Wish, able_methods, checked_name
from sats.app.launching import Place, check_place, working_folder
from sats.app.models import Model, all_classes, models_in
from sats.app.painting import LONGEST_SIDE, painted, to_paint
from sats.app.prediction import MOST_PIXELS, MOST_SCORES, Photo, Sight, open_photo, within_reach
from sats.app.recent import Recent
from sats.app.shelf import Shelf
from sats.app.status import status_of
from sats.app.text import told
from sats.cli import main
from sats.data.folder import open_folder
from sats.holding import held
from sats.types import IGNORE


def picture(path: Path, size: tuple[int, int] = (64, 48), seed: int = 0, **options: object) -> Path:
    """An image file of ``size``, width and height, full of noise."""
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def mask(path: Path, size: tuple[int, int] = (64, 48), value: int = 255) -> Path:
    """A mask file with a square of ``value``."""
    labels = np.zeros((size[1], size[0]), dtype=np.uint8)
    labels[10:30, 10:30] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(labels).save(path)
    return path


def filled(folder: Path, count: int = 6) -> Collection:
    """A collection of images with masks."""
    made = Collection(folder / "collected")
    images = [picture(folder / "up" / f"{number}.jpg", seed=number) for number in range(count)]
    assert made.add_images([str(image) for image in images]) == []
    assert made.add_masks([str(mask(folder / "masks" / f"{image.stem}.png")) for image in images]) == []
    return made


# --- models and what they see -----------------------------------------------------------------------------------------


def test_models_are_found_in_runs_folders_of_runs_steps_and_model_folders(
    trained: dict[str, Path], tmp_path: Path
) -> None:
    other = foreign(tmp_path / "other", "segformer", ("background", "car"))
    steps = models_in([trained["sats"]])
    assert [model.title for model in steps] == ["sats, step 0", "sats, step 1"]
    assert [len(model.classes) for model in steps] == [5, 10]
    every = models_in([trained["sats"].parent, other])
    assert {model.group for model in every} == {"sats", "finetune", "joint", "other"}
    assert models_in([trained["sats"] / "step-1"])[0].classes == steps[1].classes
    assert models_in([other])[0].classes == ("car",)
    assert all_classes(every) == ("background", *steps[1].classes, "car")


def test_what_is_no_model_is_refused(trained: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="neither a run nor a model folder"):
        models_in([tmp_path])
    with pytest.raises(ValueError, match="named twice"):
        models_in([trained["sats"], trained["sats"]])
    with pytest.raises(ValueError, match="Which model"):
        models_in([])
    with pytest.raises(ValueError, match="no finished step with a model"):
        models_in([write_run(tmp_path / "bare", [["background", "one"]])])
    many = Model("many", "", tmp_path, tuple(map(str, range(255))))
    with pytest.raises(ValueError, match="255 classes together"):
        all_classes([many])


def test_masks_are_those_of_sats_predict(trained: dict[str, Path], tmp_path: Path) -> None:
    file = picture(tmp_path / "photo.png", (70, 50))
    models = models_in([trained["sats"]])
    photo, sight = open_photo(str(file)), Sight()
    maps = [sight.labels(model, photo) for model in models]
    written = write_masks(tmp_path, photo, models, maps)
    assert [path.name for path in written] == ["photo-sats-step-0.png", "photo-sats-step-1.png"]
    for step, path in enumerate(written):
        out = tmp_path / f"out-{step}"
        assert main(["predict", str(trained["sats"] / f"step-{step}"), str(file), "--out", str(out)]) == 0
        assert path.read_bytes() == (out / "photo.png").read_bytes()


def test_labels_are_those_of_a_prediction(trained: dict[str, Path], tmp_path: Path) -> None:
    predictor, file = sats.load(trained["sats"]), picture(tmp_path / "photo.png", (70, 50))
    assert np.array_equal(predictor.labels(file), predictor.predict(file).labels)


def test_a_model_and_what_it_saw_are_kept(
    trained: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[Path] = []
    load = sats.load
    monkeypatch.setattr("sats.api.load", lambda folder: (loaded.append(folder), load(folder))[1])
    model, sight = models_in([trained["sats"]])[0], Sight()
    first, second = (open_photo(str(picture(tmp_path / f"{seed}.png", seed=seed))) for seed in (0, 1))
    assert sight.labels(model, first) is sight.labels(model, first)
    sight.labels(model, second)
    assert loaded == [model.folder]


def test_recent_values_stay_within_their_limit() -> None:
    recent: Recent[str, bytes] = Recent(10, len)
    made: list[str] = []

    def get(key: str, size: int) -> None:
        recent.get(key, lambda: (made.append(key), b"x" * size)[1])

    for key, size in (("a", 4), ("b", 4), ("a", 4), ("c", 4), ("a", 4), ("b", 4), ("huge", 99), ("huge", 99)):
        get(key, size)
    assert made == ["a", "b", "c", "b", "huge"]


@pytest.mark.parametrize("classes", [2, 21, 151])
def test_large_pictures_are_seen_smaller(classes: int) -> None:
    image = Image.new("RGB", (6000, 3000))
    small = within_reach(image, classes)
    assert small.width * small.height <= MOST_PIXELS
    assert small.width * small.height * classes <= MOST_SCORES
    assert abs(small.width / small.height - 2) < 0.01
    assert within_reach(small, classes) is small


@pytest.mark.parametrize("orientation", [1, 6])
def test_pictures_are_upright(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = open_photo(str(picture(tmp_path / "it.jpg", (64, 48), exif=exif)))
    assert photo.image.size == ((64, 48) if orientation == 1 else (48, 64))


def test_what_is_no_picture_is_called_by_its_name_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fake.png").write_text("text")
    with pytest.raises(ValueError, match=r"^fake.png is not an image"):
        open_photo(str(tmp_path / "fake.png"))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ValueError, match=r"^it.png has too many pixels"):
        open_photo(str(picture(tmp_path / "it.png")))


def read_page(folder: Path, html: str) -> Page:
    file = folder / "page.html"
    file.write_text(html, encoding="utf-8")
    return Page(file)


def test_names_never_become_html(tmp_path: Path) -> None:
    photo = Photo("it", "0", Image.new("RGB", (40, 30)))
    classes = tuple(name for name in HOSTILE if len(name) < 200)
    model = Model(HOSTILE[1], HOSTILE[0], tmp_path, classes)
    labels = np.arange(30 * 40).reshape(30, 40).astype(np.uint8) % (1 + len(classes))
    page = read_page(tmp_path, side_by_side(photo, [model], [labels], all_classes([model])))
    assert page.tags == {"div", "ul", "li", "span", "section", "h3", "figure", "img", "figcaption", "b"}
    assert page.script == ""
    assert all(link.startswith("data:image/") for link in page.links)
    assert "<script>alert(1)</script>" in page.text
    assert read_page(tmp_path, told(*HOSTILE)).tags == {"div", "p"}


def test_a_row_for_each_run_and_colours_for_each_class(trained: dict[str, Path], tmp_path: Path) -> None:
    desk = make_desk(models_in([trained["sats"], trained["finetune"]]), tmp_path, tmp_path)
    html, masks = desk.see(str(picture(tmp_path / "it.png")), desk.first_choice(), iter)
    page = read_page(tmp_path, html)
    assert page.text.count("step 0") == page.text.count("step 1") == 2
    assert len(masks) == 4
    assert "64 x 48 pixels" in page.text


def test_of_many_models_the_ends_are_shown_at_first(tmp_path: Path) -> None:
    many = tuple(Model("run", f"step {step}", tmp_path / str(step), ("one",)) for step in range(20))
    assert make_desk(many, tmp_path, tmp_path).first_choice() == [many[0], many[-1]]
    assert make_desk(many[:3], tmp_path, tmp_path).first_choice() == list(many[:3])


def test_only_the_last_masks_can_be_fetched(
    trained: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sats.app.desk.KEPT_DOWNLOADS", 2)
    desk = make_desk(models_in([trained["sats"]]), tmp_path / "work", tmp_path)
    file = str(picture(tmp_path / "it.png"))
    kept = [desk.see(file, desk.given[:1], iter)[1][0] for _ in range(4)]
    assert [path.is_file() for path in kept] == [False, False, True, True]


# --- images of a new class --------------------------------------------------------------------------------------------


def test_images_and_masks_become_a_data_folder(tmp_path: Path) -> None:
    collection = filled(tmp_path)
    collection.add_images([str(picture(tmp_path / "up" / "bare.png"))])
    collection.write(tmp_path / "data", "sofa")
    source = open_folder(tmp_path / "data", "train")
    assert source.classes == ("background", "sofa")
    assert len(source) == 6
    assert source.mask(0)[20, 20] == 1
    assert source.presence().all()


def test_images_that_cannot_be_are_told_and_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fake.png").write_text("text")
    (tmp_path / "it.gif").write_bytes(picture(tmp_path / "it.png").read_bytes())
    collection = Collection(tmp_path / "collected")
    names = ("it.png", "it.png", "fake.png", "it.gif")
    problems = collection.add_images([str(tmp_path / name) for name in names])
    assert len(problems) == 3
    assert "called it is there already" in problems[0]
    assert problems[1].startswith("fake.png is not an image")
    assert str(tmp_path) not in "".join(problems)
    monkeypatch.setattr(collecting, "MOST_IMAGES", 1)
    assert "which is the most" in collection.add_images([str(picture(tmp_path / "b.png"))])[0]
    assert [item.name for item in collection.items()] == ["it"]


def test_masks_that_cannot_be_are_told(tmp_path: Path) -> None:
    collection = Collection(tmp_path / "collected")
    collection.add_images([str(picture(tmp_path / "it.png"))])
    small, other, coloured = (tmp_path / name / "it.png" for name in ("small", "other", "coloured"))
    mask(small, (32, 32))
    mask(other.with_name("nobody.png"))
    picture(coloured)
    problems = collection.add_masks([str(small), str(other.with_name("nobody.png")), str(coloured)])
    assert "give both the same size" in problems[0]
    assert "the mask of no image here" in problems[1]
    assert "mode RGB" in problems[2]
    assert collection.labelled() == []


def test_soft_edges_are_no_mask_and_white_is_the_class_wherever_a_palette_has_it(tmp_path: Path) -> None:
    collection = Collection(tmp_path / "collected")
    collection.add_images([str(picture(tmp_path / "it.jpg"))])
    drawn = mask(tmp_path / "it.png")
    (tmp_path / "soft").mkdir()
    soft = Image.open(drawn).resize((16, 12), Image.Resampling.BICUBIC).resize((64, 48), Image.Resampling.BICUBIC)
    soft.save(tmp_path / "soft" / "it.png")
    (problem,) = collection.add_masks([str(tmp_path / "soft" / "it.png")])
    assert "as drawings with soft edges do: save it with hard ones" in problem
    assert collection.labelled() == []
    white_first = Image.fromarray((np.asarray(Image.open(drawn)) == 0).astype(np.uint8), mode="P")
    white_first.putpalette([255, 255, 255, 0, 0, 0])
    white_first.save(drawn)
    assert collection.add_masks([str(drawn)]) == []
    (item,) = collection.labelled()
    assert (item.labels() == NEW).sum() == 20 * 20


@pytest.mark.parametrize(
    ("stored", "meant"),
    [([0, 255], [0, NEW]), ([0, 1], [0, NEW]), ([0, 3, 7], [0, NEW, NEW]), ([0, 1, 255], [0, NEW, IGNORE])],
)
def test_what_the_values_of_a_mask_mean(stored: list[int], meant: list[int]) -> None:
    assert as_new_class(np.array([stored], dtype=np.uint8)).tolist() == [meant]


def test_images_and_masks_are_taken_away(tmp_path: Path) -> None:
    collection = filled(tmp_path)
    collection.remove_mask("1")
    collection.remove("0")
    assert [item.name for item in collection.labelled()] == ["2", "3", "4", "5"]
    with pytest.raises(ValueError, match="no image called 0 any more"):
        collection.item("0")
    collection.clear()
    assert collection.items() == []


@pytest.mark.parametrize("factor", [1, 2, 0.5])
def test_paint_is_the_new_class_at_the_images_own_size(factor: float) -> None:
    labels = np.zeros((40, 60), dtype=np.uint8)
    labels[:5], labels[5:10] = IGNORE, NEW
    layer = np.zeros((int(40 * factor), int(60 * factor), 4), dtype=np.uint8)
    layer[int(20 * factor) : int(30 * factor), int(10 * factor) : int(40 * factor)] = (9, 9, 9, 255)
    found = painted({"layers": [Image.fromarray(layer)]}, labels)
    expected = labels.copy()
    expected[20:30, 10:40] = NEW
    assert np.array_equal(found, expected)
    assert np.array_equal(painted(None, labels), labels)


def test_a_large_image_is_painted_on_smaller(tmp_path: Path) -> None:
    collection = Collection(tmp_path / "collected")
    collection.add_images([str(picture(tmp_path / "it.jpg", (2400, 1200)))])
    collection.add_masks([str(mask(tmp_path / "mask" / "it.png", (2400, 1200)))])
    shown = to_paint(collection.item("it"))
    assert shown.size == (LONGEST_SIDE, LONGEST_SIDE // 2)


def test_small_pictures_follow_their_files(tmp_path: Path) -> None:
    collection = filled(tmp_path, 2)
    shelf = Shelf(collection)
    assert "2 images, 2 with a mask." in shelf.html()
    assert shelf.html() == shelf.html()
    collection.remove_mask("0")
    assert "Images without a mask are left out" in shelf.html()
    assert "no mask yet" in shelf.html()


# --- extensions -------------------------------------------------------------------------------------------------------


def wish(trained: dict[str, Path], name: str = "sofa") -> Wish:
    return Wish(models_in([trained["sats"]])[-1], name, "finetune", 1)


@pytest.mark.parametrize(
    ("name", "cause"), [("  ", "needs a name"), ("x" * 81, "needs a name"), ("a\u202eb", "visible"), ("bg", "class 0")]
)
def test_names_that_no_class_can_have(name: str, cause: str) -> None:
    with pytest.raises(ValueError, match=cause):
        checked_name(name)


def test_methods_are_those_that_can_extend_any_model() -> None:
    assert able_methods() == ["ewf", "finetune", "ilt", "lwf", "mib", "plop", "sats", "sats-plus"]


@pytest.mark.parametrize(("images", "name", "cause"), [(4, "sofa", "4 images have a mask"), (5, "zero", "knows every")])
def test_an_extension_that_cannot_begin_leaves_nothing(
    images: int, name: str, cause: str, trained: dict[str, Path], tmp_path: Path
) -> None:
    extensions = Extensions(tmp_path / "work")
    with pytest.raises(ValueError, match=cause):
        extensions.begin(wish(trained, name), filled(tmp_path, images))
    assert extensions.all() == []
    assert status_of(extensions).state == "none"


def test_one_extension_at_a_time(trained: dict[str, Path], tmp_path: Path) -> None:
    extensions, collection = Extensions(tmp_path / "work"), filled(tmp_path)
    extensions.begin(wish(trained), collection)
    try:
        assert status_of(extensions).state == "running"
        with pytest.raises(ValueError, match="at work already"):
            extensions.begin(wish(trained), collection)
        with pytest.raises(ValueError, match="at work already"):
            extensions.go_on()
    finally:
        extensions.stop()
    again = status_of(Extensions(tmp_path / "work"))  # as after a restart
    assert (again.state, again.can_go_on) == ("interrupted", True)


@contextmanager
def extended(work: Path, names: list[str], done: int = 2) -> Iterator[Path]:
    """The folder of an extension as one leaves it, with ``done`` of its steps."""
    from sats.recipes import extend

    config = extend("sats")
    stream = dataclasses.replace(config.stream, steps=(("one", "two"), tuple(names)))
    config = dataclasses.replace(config, stream=stream, extends=dataclasses.replace(config.extends, checkpoint="x"))
    folder = work / "extension-3"
    groups = [["background", "one", "two"], names]
    write_run(folder / "model" / "run", groups, config, done=done)
    steps = [{"learns": groups[0], "images": 0}, {"learns": names, "images": 10}]
    (folder / "model" / "run" / "steps.json").write_text(json.dumps(steps))
    yield folder


def test_progress_is_read_from_the_files(tmp_path: Path) -> None:
    with extended(tmp_path, ["sofa"], done=1) as folder:
        with held(folder / "model" / "run"):
            assert "are being read" in status_of(Extensions(tmp_path)).html
            line = {"step": 1, "iteration": 5, "losses": {"ce": 1.25, "kd": 0.5}, "images_per_second": 2.0}
            (folder / "model" / "run" / "metrics.jsonl").write_text(f"{json.dumps(line)}\n")
            status = status_of(Extensions(tmp_path))
            assert status.state == "running"  # 40 of 160 images: a batch of 8 from 10, 20 times
            assert 'aria-valuenow="25"' in status.html
            assert "Pass 6 of 20 over the images, loss 1.750, about 1 min 0 s left" in status.html
        status = status_of(Extensions(tmp_path))
        assert (status.state, status.can_go_on) == ("interrupted", True)


def test_what_another_process_does_is_not_stopped(tmp_path: Path) -> None:
    with (
        extended(tmp_path, ["sofa"], done=1) as folder,
        held(folder / "model" / "run"),
        pytest.raises(ValueError, match="stop it there"),
    ):
        Extensions(tmp_path).stop()


def test_what_went_wrong_is_told(tmp_path: Path) -> None:
    with extended(tmp_path, [HOSTILE[1]], done=1) as folder:
        (folder / "fault.txt").write_text(HOSTILE[0])
        status = status_of(Extensions(tmp_path))
        assert status.state == "failed"
        assert {"img", "script"}.isdisjoint(read_page(tmp_path, status.html).tags)
        (folder / "model" / "run" / "steps.json").write_text("{}")
        assert "does not list steps" in status_of(Extensions(tmp_path)).html


def test_a_finished_extension_says_what_was_gained_and_lost(tmp_path: Path) -> None:
    with extended(tmp_path, [HOSTILE[1]]) as folder:
        (folder / "model" / "config.json").write_text("{}")
        extensions = Extensions(tmp_path)
        status = status_of(extensions)
        page = read_page(tmp_path, status.html.replace("<table>", '<table class="it">'))
        assert status.state == "finished"
        assert "img" not in page.tags
        gained, kept = page.table("it"), page.table("it", 1)
        assert gained[1][0] == HOSTILE[1]
        assert [row[0] for row in kept[1:]] == ["background", "one", "two", "mean"]
        assert [model.classes for model in extensions.made()] == [("one", "two", HOSTILE[1])]
        (folder / "model" / "run" / "config.json").write_text('{"recipe": 1}')
        assert extensions.made() == []


# --- the working folder, the command ----------------------------------------------------------------------------------


def test_a_working_folder_goes_unless_it_holds_what_took_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with working_folder(None) as work:
        filled(work)
    assert not work.exists()
    with working_folder(None) as work, extended(work, ["sofa"]):
        pass
    assert work.exists()
    with working_folder(tmp_path / "named") as work:
        assert work == tmp_path / "named"
    assert work.exists()
    with held(work), pytest.raises(ValueError, match="is being worked on"), working_folder(work):
        pass


def test_a_working_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="choose another --work"), working_folder(tmp_path / "file"):
        pass


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", None), ("203.0.113.1", 0), ("127.0.0.1", 70000)])
def test_a_place_where_nothing_can_be_served_is_refused(host: str, port: int | None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = Place(host, taken.getsockname()[1] if port is None else port)
        with pytest.raises(ValueError, match="choose another --host or --port"):
            check_place(place)


def test_without_the_package_one_sentence_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sats.commands.app.find_spec", lambda _: None)
    assert main(["app", "run"]) == 2
    assert capsys.readouterr().err == "sats: The page needs one more package: pip install gradio\n"
