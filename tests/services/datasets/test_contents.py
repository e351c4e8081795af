"""Datasets in the data folder: filled with uploads and archives, emptied into the trash, images excluded from training."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from PIL import Image

from train_embedding.errors import (
    Conflict,
    InvalidInput,
    InvalidName,
    NotAllowed,
    NotFound,
    NothingToTrainOn,
    StorageFailed,
    UnreadableFile,
)
from train_embedding.services.datasets import Datasets, Upload, incoming
from train_embedding.services.store.transaction import Journal
from train_embedding.testing import FakeHost


@pytest.fixture
def datasets(fake_host: FakeHost) -> Datasets:
    return Datasets(fake_host)


def image(colour: str = "red", size: tuple[int, int] = (16, 16)) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", size, colour).save(data, "PNG")
    return data.getvalue()


def uploads(folder: Path, files: Mapping[str, bytes]) -> list[Upload]:
    """Files as a browser's upload leaves them: under other names than their own."""
    found: list[Upload] = []
    for name, content in files.items():
        file = folder / f"upload-{len(list(folder.iterdir()))}"
        file.write_bytes(content)
        found.append(Upload(name, file))
    return found


def archive(files: Mapping[str, bytes]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in files.items():
            made.writestr(name, content)
    return data.getvalue()


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.fixture
def cat(datasets: Datasets, tmp_path: Path) -> Path:
    (tmp_path / "uploads").mkdir()
    files = {"a.png": image(), "a.txt": b"a cat", "a-masklabel.png": image("white"), "b.png": image("blue")}
    return datasets.create("cat", uploads(tmp_path / "uploads", files)).folder


def test_a_dataset_is_made_of_uploads_and_trained_on_by_its_name(datasets: Datasets, cat: Path, fake_host: FakeHost) -> None:
    assert cat == fake_host.info().runs_folder.parent / "datasets" / "cat"
    assert names(cat) == ["a-masklabel.png", "a.png", "a.txt", "b.png"]
    assert [(one.name, one.images) for one in datasets.list()] == [("cat", 2)]
    report = datasets.inspect("cat", masks="file")
    assert (report.folder, report.images, report.captions, report.masks) == (cat, 2, 1, 1)


def test_an_archive_is_unpacked(datasets: Datasets, tmp_path: Path, cat: Path) -> None:
    files = {
        "set/10_cat/1.png": image("green"), "set/10_cat/1.txt": b"one", "set/20_dog/1.png": image("pink"),
        "set/20_dog/1.txt": b"two",
        "__MACOSX/set/._1.png": b"x", "set/.DS_Store": b"x", "set/readme.md": b"x",
    }  # fmt: skip
    added = datasets.add("cat", uploads(tmp_path / "uploads", {"set.zip": archive(files)}))
    assert sorted(added.files) == ["10_cat-1.png", "10_cat-1.txt", "20_dog-1.png", "20_dog-1.txt"]
    assert (cat / "20_dog-1.txt").read_text() == "two"
    assert added.skipped == (("set/readme.md", "It is neither an image nor a caption (.txt)."),)


def test_names_that_are_taken_get_a_number_with_their_captions(datasets: Datasets, tmp_path: Path, cat: Path) -> None:
    files = {"a.png": image("white"), "a.txt": b"another cat", "b.png": image("blue"), "b.txt": b"blue"}
    added = datasets.add("cat", uploads(tmp_path / "uploads", files))
    assert sorted(added.files) == ["a-2.png", "a-2.txt", "b.txt"]
    assert added.known == ("b.png",)
    assert (cat / "a.txt").read_text() == "a cat"


def test_what_is_no_image_is_skipped_with_the_reason(datasets: Datasets, tmp_path: Path, cat: Path) -> None:
    files = {
        "good.png": image("gold"), "page.jpg": b"<!doctype html>", "empty.png": b"", "CON.png": image(), "tool.exe": b"MZ",
        "../../up.png": image("navy"), "x" * 300 + ".png": image(), ".hidden.png": image(), "big.txt": b"x" * 70_000,
        "zero\0.png": image(), "fake.webp": b"%!PS-Adobe-3.0 EPSF-3.0\n",
    }  # fmt: skip
    added = datasets.add("cat", uploads(tmp_path / "uploads", files))
    assert sorted(added.files) == ["good.png", "up.png"]
    assert len(added.skipped) == 9
    assert not (cat.parent.parent / "up.png").exists()
    assert not [name for name in names(cat) if name.endswith(".tmp")]


def hostile() -> dict[str, tuple[bytes, str]]:
    bomb = archive({f"{number}.png": b"\0" * 3_000_000 for number in range(4)})
    link = io.BytesIO()
    with zipfile.ZipFile(link, "w") as made:
        info = zipfile.ZipInfo("link.png")
        info.external_attr = 0o120777 << 16
        made.writestr(info, "/etc/passwd")
    good = archive({"good.png": image("gold")})
    locked = bytearray(good)
    locked[6] |= 1
    locked[good.index(b"PK\1\2") + 8] |= 1
    return {
        "up.zip": (archive({"good.png": image("gold"), "../../evil.png": image()}), "leads outside"),
        "absolute.zip": (archive({"/tmp/evil.png": image()}), "leads outside"),
        "dot.zip": (archive({".": b"x"}), "Nothing was added."),
        "drive.zip": (archive({"C:\\evil.png": image()}), "leads outside"),
        "link.zip": (link.getvalue(), "leads outside"),
        "bomb.zip": (bomb, "GB"),
        "cut.zip": (good[: len(good) // 2], "is not a zip archive, or it is damaged"),
        "text.zip": (b"no archive", "is not a zip archive"),
        "locked.zip": (bytes(locked), "is encrypted"),
        "empty.zip": (archive({}), "Nothing was added."),
        "nested.zip": (archive({"inner.zip": good}), "Nothing was added."),
    }


@pytest.mark.parametrize("name", hostile())
def test_hostile_archives_leave_everything_as_it_was(
    datasets: Datasets, tmp_path: Path, cat: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incoming, "MAX_BYTES", 10_000_000)
    content, sentence = hostile()[name]
    files = {name: content} if sentence.startswith("Nothing") else {"fine.png": image("pink"), name: content}
    before = names(cat)
    with pytest.raises((InvalidInput, UnreadableFile)) as caught:
        datasets.add("cat", uploads(tmp_path / "uploads", files))
    assert sentence in str(caught.value)
    assert names(cat) == before
    assert not list(tmp_path.rglob("evil.png"))
    with pytest.raises((InvalidInput, UnreadableFile)):
        datasets.create("new", uploads(tmp_path / "uploads", {name: content}))
    assert [one.name for one in datasets.list()] == ["cat"]


def test_an_archive_that_lies_about_its_size(datasets: Datasets, tmp_path: Path, cat: Path) -> None:
    packed = bytearray(archive({"a.bmp": b"BM" + b"\0" * 5_000_000}))
    at = packed.index(b"PK\1\2")
    packed[at + 24 : at + 28] = (1000).to_bytes(4, "little")
    with pytest.raises((InvalidInput, UnreadableFile)):
        datasets.add("cat", uploads(tmp_path / "uploads", {"lie.zip": bytes(packed)}))
    assert len(names(cat)) == 4


def test_names_of_datasets(datasets: Datasets, cat: Path) -> None:
    for name in ("", "a/b", "..", ".hidden", "con", "x" * 200):
        with pytest.raises(InvalidName):
            datasets.create(name)
    with pytest.raises(Conflict, match='There is already a dataset "cat"'):
        datasets.create("cat")
    assert datasets.create("剣").folder.is_dir()


def test_images_go_to_the_trash_with_what_belongs_to_them_and_come_back(datasets: Datasets, cat: Path) -> None:
    assert datasets.remove("cat", ["a.png"]) == 3
    assert names(cat) == ["b.png"]
    assert [item.files for item in datasets.removed("cat")] == [("a-masklabel.png", "a.png", "a.txt")]
    datasets.restore("cat")
    assert names(cat) == ["a-masklabel.png", "a.png", "a.txt", "b.png"]
    with pytest.raises(NotFound, match="Nothing was removed"):
        datasets.restore("cat")
    with pytest.raises(NotFound, match=r'no image "\.\./cat/a\.png"'):
        datasets.remove("cat", ["../cat/a.png"])


def test_a_caption_that_another_image_shares_stays(datasets: Datasets, cat: Path) -> None:
    Image.new("RGB", (16, 16)).save(cat / "a.jpg")
    assert datasets.remove("cat", ["a.png"]) == 1
    assert (cat / "a.txt").exists()


def test_nothing_is_half_removed(datasets: Datasets, cat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **_more: object) -> None:
        raise StorageFailed(incoming.msg("The disk is gone."))

    monkeypatch.setattr(Journal, "_record", fail)
    with pytest.raises(StorageFailed):
        datasets.remove("cat", ["a.png"])
    assert names(cat) == ["a-masklabel.png", "a.png", "a.txt", "b.png"]


def test_training_leaves_excluded_images_out(datasets: Datasets, cat: Path) -> None:
    assert datasets.exclude("cat", ["a.png"]) == 1
    assert (cat / "a.png").exists()
    assert datasets.inspect("cat").images == 1
    checked = datasets.look("cat")
    assert [(image.name, image.excluded) for image in checked.images] == [("a.png", True), ("b.png", False)]
    assert checked.buckets == [((64, 64), 1)]
    datasets.exclude("cat", ["b.png"])
    with pytest.raises(NothingToTrainOn, match="are excluded from training"):
        datasets.inspect("cat")
    datasets.exclude("cat", ["a.png", "b.png"], excluded=False)
    assert datasets.inspect("cat").images == 2


def test_a_folder_of_the_user_is_changed_but_never_removed(datasets: Datasets, cat: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "a.png").write_bytes(image())
    datasets.add(own, uploads(tmp_path / "uploads", {"b.png": image("blue")}))
    assert datasets.remove(own, ["a.png"]) == 1
    assert names(own) == ["b.png"]
    datasets.restore(own)
    assert names(own) == ["a.png", "b.png"]
    with pytest.raises(NotAllowed, match="is your own folder"):
        datasets.delete(own)
    datasets.delete("cat")
    assert not cat.exists()
    (item,) = (cat.parent.parent / "dataset-trash" / "whole").iterdir()
    assert names(item / "cat") == ["a-masklabel.png", "a.png", "a.txt", "b.png"]


def test_a_shared_server_changes_its_own_folders_only(tmp_path: Path) -> None:
    host = FakeHost(tmp_path / "host", allowed_folders=(tmp_path / "host",))
    datasets, outside = Datasets(host), tmp_path / "outside"
    outside.mkdir()
    (outside / "a.png").write_bytes(image())
    (tmp_path / "uploads").mkdir()
    datasets.create("mine", uploads(tmp_path / "uploads", {"a.png": image()}))
    for change in (
        lambda: datasets.look(outside),
        lambda: datasets.remove(outside, ["a.png"]),
        lambda: datasets.exclude(outside, ["a.png"]),
        lambda: datasets.write_caption(outside, "a.png", "x"),
        lambda: datasets.add(outside, uploads(tmp_path / "uploads", {"b.png": image()})),
        lambda: datasets.check_file(outside / "a.png"),
    ):
        with pytest.raises(NotAllowed):
            change()
    assert names(outside) == ["a.png"]
