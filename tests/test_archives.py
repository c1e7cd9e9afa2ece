"""Archives of data sets: unpacked whole, inside their folder, or not at all."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from sats.cli import main
from sats.data import archives, ccp
from sats.data.archives import check_digest, unpack
from sats.data.layouts import LAYOUTS
from sats.errors import RunError

FILES = {"data/a.txt": b"alpha", "data/deep/b.txt": b"beta", "c.txt": b""}


def make_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def make_tar(path: Path, files: dict[str, bytes]) -> Path:
    kinds = {".tgz": "w:gz", ".gz": "w:gz", ".bz2": "w:bz2", ".xz": "w:xz"}
    with tarfile.open(path, kinds.get(path.suffix, "w")) as archive:  # type: ignore[call-overload]  # takes literals alone
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


MAKERS = {"a.zip": make_zip, "a.tar": make_tar, "a.tgz": make_tar}
Maker = Callable[[Path, dict[str, bytes]], Path]


def below(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


@pytest.fixture(params=MAKERS)
def maker(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[dict[str, bytes]], Path]:
    return lambda files: MAKERS[request.param](tmp_path / request.param, files)


def test_everything_is_unpacked_beside_what_is_there(maker: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "out" / "data").mkdir(parents=True)
    (tmp_path / "out" / "data" / "mine.txt").write_bytes(b"mine")
    done: list[int] = []
    assert unpack(maker(FILES), tmp_path / "out", done.append) == 3
    assert below(tmp_path / "out") == {**FILES, "data/mine.txt": b"mine"}
    assert sum(done) == 9


OUT = ["../evil.txt", "/evil/evil.txt", "data/../../evil.txt", "..\\evil.txt", "C:/evil.txt"]


@pytest.mark.parametrize("name", OUT)
def test_a_path_out_of_the_folder_ends_it_and_nothing_is_left(
    name: str, maker: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="out of its folder"):
        unpack(maker({**FILES, name: b"evil"}), tmp_path / "out")
    assert not below(tmp_path / "out")
    assert not list(tmp_path.rglob("*evil*"))


def test_a_file_that_is_there_already_is_never_replaced(maker: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "c.txt").write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"c\.txt is there already"):
        unpack(maker(FILES), tmp_path / "out")
    assert below(tmp_path / "out") == {"c.txt": b"mine"}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(kind: bytes, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        entry = tarfile.TarInfo("link")
        entry.type, entry.linkname = kind, "/etc/passwd"
        archive.addfile(entry)
    with pytest.raises(ValueError, match="a link or device"):
        unpack(tmp_path / "a.tar", tmp_path / "out")


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        entry = zipfile.ZipInfo("link")
        entry.external_attr = 0o120777 << 16
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(ValueError, match="a link or device"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


@pytest.mark.parametrize("maker", [make_zip, lambda path, files: make_tar(path.with_suffix(".tgz"), files)])
def test_a_bomb_is_stopped(maker: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "SMALL", 2**20)
    bomb = maker(tmp_path / "bomb.zip", {"zeros": bytes(2**25)})
    assert bomb.stat().st_size < 2**17
    with pytest.raises(ValueError, match="unpacks to far more than pictures do"):
        unpack(bomb, tmp_path / "out")
    assert not below(tmp_path / "out")
    monkeypatch.setattr(archives, "MOST_FILES", 2)
    with pytest.raises(ValueError, match="far more than pictures do"):
        unpack(make_zip(tmp_path / "many.zip", FILES), tmp_path / "out")


def test_a_full_disk_is_said_before_it_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = archives.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda _: usage._replace(free=4))
    with pytest.raises(RunError, match="too little space"):
        unpack(make_zip(tmp_path / "a.zip", FILES), tmp_path / "out")
    assert not below(tmp_path / "out")


def test_broken_and_other_files_are_one_sentence(maker: Callable[..., Path], tmp_path: Path) -> None:
    archive = maker({"noise": np.random.default_rng(0).bytes(200_000)})
    archive.write_bytes(archive.read_bytes()[:100_000])
    with pytest.raises((ValueError, RunError), match=rf"{archive.name}.*(cannot be unpacked|not an archive)"):
        unpack(archive, tmp_path / "out")
    (tmp_path / "text.zip").write_text("hello")
    with pytest.raises(ValueError, match="not an archive that can be unpacked here"):
        unpack(tmp_path / "text.zip", tmp_path / "out")
    assert not below(tmp_path / "out")


@pytest.mark.parametrize("place", [0.3, 0.5, 0.9, 1])
@pytest.mark.parametrize("name", ["a.tgz", "a.tar.bz2", "a.tar.xz"])
def test_damage_in_the_middle_is_noticed(name: str, place: float, tmp_path: Path) -> None:
    """Also where it looks like the archive's end."""
    rng = np.random.default_rng(0)
    files = {f"{index}.txt": rng.integers(97, 101, 20_000, dtype=np.uint8).tobytes() for index in range(8)}
    archive = make_tar(tmp_path / name, files)
    content = bytearray(archive.read_bytes())
    start = round(place * (len(content) - 400)) if place < 1 else len(content) - 8
    content[start : start + 8] = bytes(8) if place < 1 or not name.endswith("gz") else b"checksum"
    archive.write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name} .*(cannot be unpacked|not an archive)"):
        unpack(archive, tmp_path / "out")
    assert not below(tmp_path / "out")


def test_a_broken_header_is_not_the_end_of_an_archive(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "a.tar", FILES)
    content = bytearray(archive.read_bytes())
    content[1024:1536] = bytes(512)
    archive.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.tar cannot be unpacked \(what describes one of its files is broken"):
        unpack(archive, tmp_path / "out")


def test_an_encrypted_archive_is_no_full_disk(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"a.txt": b"alpha"})
    content = bytearray(archive.read_bytes())
    content[6] |= 1  # the flag of the file
    content[content.index(b"PK\x01\x02") + 8] |= 1  # and of its entry in the list
    archive.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.zip is encrypted"):
        unpack(archive, tmp_path / "out")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("second", ["a.txt", "a.txt/b.txt", "./a.txt"])
def test_a_path_that_occurs_twice_is_refused(second: str, tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        for name in ("a.txt", second):
            opened.writestr(name, b"alpha")
    with pytest.raises(ValueError, match=r"a\.zip holds .* twice"):
        unpack(archive, tmp_path / "out")
    assert not below(tmp_path / "out")


def test_a_checksum_tells_whether_the_archive_is_the_published_one(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"alpha")
    check_digest(tmp_path / "a", f"md5:{hashlib.md5(b'alpha', usedforsecurity=False).hexdigest()}")
    with pytest.raises(ValueError, match=r"its sha1 is .*, not 00.*fetch it again"):
        check_digest(tmp_path / "a", "sha1:00")


# --- the commands -----------------------------------------------------------------------------------------------------


def picture(ids: int, mode: str, format_: str) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (40, 32), ids if mode == "L" else (90, 90, 90)).save(buffer, format_)
    return buffer.getvalue()


@pytest.mark.filterwarnings("ignore:.* images in its split")
def test_an_archive_becomes_a_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {}
    for split in ("train", "val"):
        files[f"idd20k_lite/leftImg8bit/{split}/0/1_image.jpg"] = picture(0, "RGB", "JPEG")
        files[f"idd20k_lite/gtFine/{split}/0/1_label.png"] = picture(3, "L", "PNG")
    archive = make_tar(tmp_path / "idd-lite.tar.gz", files)
    out = tmp_path / "out"
    assert main(["data", "prepare", "idd-lite", "--from", str(archive), "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "no checksum was published" in shown
    assert "train: 1 of 1,403 images, nothing wrong." in shown
    assert main(["data", "check", str(out), "--source", "idd-lite"]) == 0
    assert "vehicles" in capsys.readouterr().out
    assert main(["data", "prepare", "idd-lite", "--from", str(archive), "--out", str(out)]) == 2
    assert "is there already" in capsys.readouterr().err


def matlab(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    savemat(buffer, arrays)
    return buffer.getvalue()


@pytest.mark.filterwarnings("ignore:.* images in its split")
def test_ccps_matlab_files_become_masks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ccp, "TESTED", 2)
    home, numbers = "clothing-co-parsing-master", range(1, 7)
    masks = {f"{number:04}": np.full((32, 40), number, dtype=np.uint8) for number in numbers}
    photos = {f"{home}/photos/{name}.jpg": picture(0, "RGB", "JPEG") for name in [*masks, "1005"]}
    labels = {f"{home}/annotations/pixel-level/{name}.mat": matlab(groundtruth=mask) for name, mask in masks.items()}
    archive = make_zip(tmp_path / f"{home}.zip", {**photos, **labels})
    out = tmp_path / "out"
    words = ["data", "prepare", "ccp", "--from", str(archive), "--out", str(out)]
    assert main(words) == 0
    assert "val: 2 of 204 images, nothing wrong." in capsys.readouterr().out
    found = {path.stem: np.asarray(Image.open(path)) for path in (out / "ccp" / "masks").rglob("*.png")}
    assert found.keys() == masks.keys()
    assert all(np.array_equal(found[name], masks[name]) for name in masks)
    with pytest.raises(ValueError, match="ccp is there already"):
        ccp.convert(out)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"no MATLAB file", "cannot be read as an annotation"),
        (matlab(tags=np.zeros((2, 1), dtype=np.uint8)), "cannot be read as an annotation"),
        (matlab(groundtruth=np.full((2, 2), 59, dtype=np.uint8)), "is not a mask of ids 0 to 58"),
        (matlab(groundtruth=np.zeros((2, 2))), "is not a mask of ids 0 to 58"),
    ],
)
def test_a_broken_annotation_of_ccp_leaves_nothing(content: bytes, told: str, tmp_path: Path) -> None:
    labels = tmp_path / "clothing-co-parsing-master" / "annotations" / "pixel-level"
    labels.mkdir(parents=True)
    (labels / "0001.mat").write_bytes(content)
    photos = tmp_path / "clothing-co-parsing-master" / "photos"
    photos.mkdir()
    with pytest.raises(ValueError, match=r"0001\.jpg is missing: unpack clothing-co-parsing-master\.zip again"):
        ccp.convert(tmp_path)
    (photos / "0001.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=rf"0001\.mat {told}"):
        ccp.convert(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["clothing-co-parsing-master"]


def test_a_wrong_archive_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_zip(tmp_path / "ADEChallengeData2016.zip", FILES)
    words = ["data", "prepare", "ade20k", "--out", str(tmp_path / "out"), "--from"]
    assert main([*words, str(tmp_path / "ADEChallengeData2016.zip")]) == 2
    assert "not the archive that was published: its sha1 is" in capsys.readouterr().err
    make_zip(tmp_path / "ade.zip", FILES)
    assert main([*words, str(tmp_path / "ade.zip")]) == 2
    assert "does not have the name of an archive of ADE20K (ADEChallengeData2016.zip)" in capsys.readouterr().err
    assert main([*words, str(tmp_path / "nothing.zip")]) == 2
    assert "is not a file" in capsys.readouterr().err
    assert main(["data", "prepare", "ade"]) == 2
    assert "did you mean 'ade20k'?" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_where_to_get_each_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "list"]) == 0
    listed = capsys.readouterr().out
    for layout in LAYOUTS.values():
        assert main(["data", "prepare", layout.name]) == 0
        told = capsys.readouterr().out
        for text in (layout.title, layout.tree.splitlines()[0], layout.origin.splitlines()[-1]):
            assert text in told
            assert text in listed
    assert max(len(line) for line in listed.splitlines()) <= 130
