"""Renaming, copying, deleting, restoring: everything that belongs to an embedding follows, and nothing is lost."""

from __future__ import annotations

import base64
import errno
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.services.store.test_transaction import killed_at
from tests.words import word_model
from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.formats import encode, write_embedding
from train_embedding.errors import BeingTrained, Conflict, InvalidName, NameTaken, NotFound, StorageFailed, UnreadableFile
from train_embedding.services import formats as forms
from train_embedding.services.combining.combining import Combining
from train_embedding.services.library.library import Imported, Library
from train_embedding.services.store.transaction import Journal
from train_embedding.testing import FakeHost

BESIDE = (".preview.png", ".json", ".txt", ".civitai.info", ".pt.optim")
SCRIPTS = ["剣", "меч", "سيف", "חרב", "ดาบ", "तलवार", "ünï cödé", "e\u0301pée", "👩‍🎨", "a.b.c", "two words", "x" * 100]


def put(host: FakeHost, path: str, value: float = 1.0, beside: tuple[str, ...] = BESIDE) -> Path:
    file = host.info().embeddings_folder / path
    write_embedding(Embedding(file.stem, {"clip_l": torch.full((2, 768), value)}), file)
    for suffix in beside:
        file.with_name(f"{file.stem}{suffix}").write_text(json.dumps({"of": file.stem, "as": suffix}), encoding="utf-8")
    host.reload_embeddings()
    return file


def state(host: FakeHost) -> dict[str, bytes]:
    folder = host.info().embeddings_folder
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def names(host: FakeHost) -> set[str]:
    return set(state(host))


def all_of(name: str, folder: str = "") -> set[str]:
    return {f"{folder}{name}{suffix}" for suffix in (".pt", *BESIDE)}


def picture(form: str = "PNG", size: tuple[int, int] = (8, 8)) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", size, "red").save(data, form)
    return data.getvalue()


@pytest.mark.parametrize("name", SCRIPTS)
def test_there_and_back_in_every_script(fake_host: FakeHost, library: Library, name: str) -> None:
    put(fake_host, "sub/sksword.pt")
    before = state(fake_host)
    entry = library.rename("sksword", name)
    assert (entry.name, entry.loaded, entry.folder) == (name, True, "sub")
    assert names(fake_host) == all_of(name, "sub/")
    assert library.rename(name, "sksword").name == "sksword"
    assert state(fake_host) == before
    assert library.copy("sksword", name).loaded
    assert names(fake_host) == all_of("sksword", "sub/") | all_of(name, "sub/")
    library.delete(name)
    assert state(fake_host) == before
    (item,) = library.trashed()
    assert (item.name, item.file, item.folder) == (name, f"{name}.pt", "sub")
    (restored,) = library.restore(item.id)
    assert (restored.name, restored.loaded) == (name, True)
    assert library.trashed() == []
    assert names(fake_host) == all_of("sksword", "sub/") | all_of(name, "sub/")


def test_the_host_knows_at_once(fake_host: FakeHost, library: Library) -> None:
    put(fake_host, "one.pt")
    library.rename("one", "two")
    assert fake_host.loaded_embeddings().names == {"two"}
    library.copy("two", "three")
    assert fake_host.loaded_embeddings().names == {"two", "three"}
    library.delete("two")
    assert fake_host.loaded_embeddings().names == {"three"}
    library.restore(library.trashed()[0].id)
    assert fake_host.loaded_embeddings().names == {"two", "three"}


def test_names_that_are_refused(fake_host: FakeHost, library: Library) -> None:
    put(fake_host, "sksword.pt")
    before = state(fake_host)
    for bad in ("", "a/b", "../out", "con", "a\nb", ".hidden", "x" * 101, "a.preview"):
        for action in (library.rename, library.copy):
            with pytest.raises(InvalidName):
                action("sksword", bad)
    assert state(fake_host) == before


def test_a_taken_name(fake_host: FakeHost, library: Library) -> None:
    put(fake_host, "one.pt")
    put(fake_host, "sub/two.safetensors", value=2.0, beside=())
    before = state(fake_host)
    for new_name in ("two", "one"):
        for action in (library.rename, library.copy):
            with pytest.raises(Conflict, match="already"):
                action("one", new_name)
    assert state(fake_host) == before


def test_what_lies_about_is_not_overwritten(fake_host: FakeHost, library: Library) -> None:
    """Somebody's notes under the new name, with no embedding to them."""
    file = put(fake_host, "one.pt")
    file.with_name("two.json").write_text("mine", encoding="utf-8")
    before = state(fake_host)
    for action in (library.rename, library.copy):
        with pytest.raises(Conflict, match=r"two\.json"):
            action("one", "two")
    assert state(fake_host) == before


def test_the_case_alone(fake_host: FakeHost, library: Library) -> None:
    put(fake_host, "one.pt")
    assert library.rename("one", "One").name == "One"
    assert names(fake_host) == all_of("One")


PICTURES = [("png", ".png"), ("image", ".png"), ("image", ".webp")]


@pytest.mark.parametrize(("form", "suffix"), PICTURES)
def test_a_picture_that_carries_its_name_gets_the_new_one(fake_host: FakeHost, library: Library, form: str, suffix: str) -> None:
    """The WebUI goes by the name inside."""
    file = fake_host.info().embeddings_folder / f"skcat{suffix}"
    file.parent.mkdir(parents=True, exist_ok=True)
    vectors = torch.randn(3, 768)
    file.write_bytes(encode(Embedding("skcat", {"clip_l": vectors}, step=7, metadata={"by": "me"}), form, suffix))
    library.reload()
    assert library.copy("skcat", "sktwo").file == file.with_name(f"sktwo{suffix}")
    assert library.rename("skcat", "skone").file == file.with_name(f"skone{suffix}")
    assert {entry.name for entry in library.list()} == {"skone", "sktwo"}
    for name in ("skone", "sktwo"):
        read = library.read(name)
        assert read.metadata == {"by": "me"}, "no other name inside"
        assert (read.step, read.format) == (7, form)
        assert torch.equal(read.vectors["clip_l"], vectors)
    (item,) = library.trashed()
    assert item.files == (file.name,)


def test_a_text_in_a_picture_is_changed_alone(fake_host: FakeHost, library: Library) -> None:
    file = fake_host.info().embeddings_folder / "skcat.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    drawn = encode(Embedding("skcat", {"clip_l": torch.ones(1, 768)}), "png", ".png")
    with Image.open(io.BytesIO(drawn)) as carrier:
        told = PngInfo()
        told.add_text("parameters", "a cat, Steps: 20")
        told.add_text("sd-ti-embedding", carrier.info["sd-ti-embedding"], zip=True)
    Image.new("RGB", (40, 30), "teal").save(file, pnginfo=told)
    library.reload()
    library.rename("skcat", "art")
    with Image.open(file.with_name("art.png")) as picture:
        assert (picture.size, picture.getpixel((5, 5))) == ((40, 30), (0, 128, 128))
        assert picture.info["parameters"] == "a cat, Steps: 20"
        assert json.loads(base64.b64decode(picture.info["sd-ti-embedding"]))["name"] == "art"
    assert library.read("art").vectors["clip_l"].shape == (1, 768)


def test_a_picture_that_cannot_be_written_keeps_its_name(
    fake_host: FakeHost, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = fake_host.info().embeddings_folder / "skcat.webp"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(encode(Embedding("skcat", {"clip_l": torch.ones(1, 768)}), "image", ".webp"))
    library.reload()
    monkeypatch.setitem(forms.SUFFIXES, "image", (".png",))  # type: ignore[arg-type]  # as it is for AVIF
    before = state(fake_host)
    for change in (library.rename, library.copy):
        with pytest.raises(UnreadableFile, match="contains the name of the embedding"):
            change("skcat", "art")
    assert state(fake_host) == before


def test_a_name_as_long_as_files_can_have_fits_the_trash(fake_host: FakeHost, library: Library) -> None:
    name = "剣" * 83
    put(fake_host, "short.pt", beside=()).rename(fake_host.info().embeddings_folder / f"{name}.pt")
    library.delete(name)
    (item,) = library.trashed()
    assert item.files == (f"{name}.pt",)
    assert [entry.name for entry in library.restore(item.id)] == [name]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes in folders here")
@pytest.mark.parametrize("suffix", [".json", ".preview.png", ".txt"])
def test_what_cannot_be_opened_beside_an_embedding_is_left_alone(
    fake_host: FakeHost, library: Library, tmp_path: Path, suffix: str
) -> None:
    """A pipe would be waited for; a link could show what lies elsewhere."""
    file = put(fake_host, "sksword.pt", beside=())
    secret = tmp_path / "secret"
    secret.write_text('{"description": "elsewhere"}')
    os.mkfifo(file.with_name(f"sksword{suffix}"))
    put(fake_host, "skother.pt", beside=()).with_name(f"skother{suffix}").symlink_to(secret)
    for entry in library.list():
        assert (entry.sidecars, entry.preview, entry.notes.description) == ((), None, "")
    for name in ("sksword", "skother"):
        library.copy(name, f"{name}-2")
        if suffix == ".json":
            with pytest.raises((UnreadableFile, InvalidName)):
                library.set_notes(name, {"description": "mine"})
        library.delete(name)
    assert secret.read_text() == '{"description": "elsewhere"}'


def test_unknown_names(library: Library) -> None:
    for action in (lambda: library.rename("no", "yes"), lambda: library.copy("no", "yes"), lambda: library.delete("no")):
        with pytest.raises(NotFound, match="no"):
            action()
    with pytest.raises(NotFound):
        library.restore("no.20261122-143000")


def test_an_odd_name_from_elsewhere(fake_host: FakeHost, library: Library) -> None:
    put(fake_host, "(old) sword.pt")
    library.delete("(old) sword")
    library.restore(library.trashed()[0].id)
    assert names(fake_host) == all_of("(old) sword")
    assert library.rename("(old) sword", "old-sword").loaded


def test_one_of_several_files(fake_host: FakeHost, library: Library) -> None:
    put(fake_host, "twin.pt", 1.0)
    put(fake_host, "sub/twin.pt", 2.0)
    assert library.get("twin").path == "sub/twin.pt"
    library.delete("twin", "twin.pt")
    assert names(fake_host) == all_of("twin", "sub/")
    with pytest.raises(NotFound, match="twin"):
        library.delete("twin", "twin.pt")
    with pytest.raises(Conflict, match="already"):
        library.restore(library.trashed()[0].id)
    library.rename("twin", "other")
    library.restore(library.trashed()[0].id)
    assert names(fake_host) == all_of("twin") | all_of("other", "sub/")


def test_two_files_of_one_name_in_one_folder_share_what_is_beside_them(fake_host: FakeHost, library: Library) -> None:
    put(fake_host, "twin.pt", 1.0)
    put(fake_host, "twin.safetensors", 2.0, beside=())
    library.rename("twin", "two", "twin.pt")
    shared = {"twin.preview.png", "twin.json", "twin.txt", "twin.civitai.info"}
    assert names(fake_host) == {"twin.safetensors", *shared} | all_of("two")
    library.copy("two", "twin2")
    put(fake_host, "two.bin", 3.0, beside=())
    library.delete("two", "two.pt")
    assert names(fake_host) >= {"two.bin", "two.json", "two.preview.png"}
    assert library.trashed()[0].files == ("two.pt", "two.pt.optim")


def test_links(fake_host: FakeHost, library: Library, tmp_path: Path) -> None:
    file = put(fake_host, "sub/real.pt", beside=())
    outside = put(fake_host, "moved.pt", beside=()).rename(tmp_path / "outside.pt")
    folder = fake_host.info().embeddings_folder
    (folder / "out.pt").symlink_to(outside)
    (folder / "out folder").symlink_to(tmp_path)
    (folder / "alias.pt").symlink_to(file)
    (folder / "alias.txt").symlink_to(tmp_path / "outside.pt")
    for name in ("out", "out folder"):
        for action in (lambda name=name: library.rename(name, "in"), lambda name=name: library.delete(name)):
            with pytest.raises(InvalidName, match="outside"):
                action()
        with pytest.raises(InvalidName, match="outside"):
            library.copy(name, "in")
    library.rename("alias", "other")
    assert (folder / "other.pt").is_symlink()
    assert (folder / "alias.txt").is_symlink(), "a link out of the folder is nobody's"
    library.delete("other")
    assert file.exists()
    library.restore(library.trashed()[0].id)
    assert not (folder / "other.pt").is_symlink()
    assert outside.exists()


def test_a_trash_item_cannot_lead_outside(fake_host: FakeHost, library: Library, tmp_path: Path) -> None:
    item = library.trash_folder / "sword.20261122-143000" / "away"
    item.mkdir(parents=True)
    (item / "sword.pt").write_bytes(b"x")
    (tmp_path / "elsewhere").mkdir()
    (fake_host.info().embeddings_folder / "away").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Exception, match="outside"):
        library.restore("sword.20261122-143000")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_restoring_what_was_overwritten(fake_host: FakeHost, library: Library) -> None:
    put(fake_host, "sub/sword.pt", 1.0)
    library.save(Embedding("sword", {"clip_l": torch.zeros(3, 768)}))
    assert names(fake_host) == all_of("sword", "sub/"), "notes and preview stay with the name"
    (item,) = library.trashed()
    assert item.files == ("sub/sword.pt",)
    library.delete("sword")
    library.restore(item.id)
    assert library.read("sword").count == 2


def test_restoring_onto_a_taken_name_under_another(fake_host: FakeHost, library: Library) -> None:
    put(fake_host, "sub/sword.pt", 1.0)
    library.delete("sword")
    put(fake_host, "sword.pt", 2.0)
    (item,) = library.trashed()
    with pytest.raises(NameTaken, match=r'already an embedding "sword"\. Use "Restore under this name" or "Replace'):
        library.restore(item.id)
    with pytest.raises(NameTaken):
        library.restore(item.id, "sword")
    with pytest.raises(InvalidName):
        library.restore(item.id, "")
    assert library.free_name("sword") == "sword-2"
    (restored,) = library.restore(item.id, "sword-2")
    assert (restored.name, restored.folder, restored.loaded) == ("sword-2", "sub", True)
    assert names(fake_host) == all_of("sword") | all_of("sword-2", "sub/")
    assert [float(library.read(name).vectors["clip_l"][0, 0]) for name in ("sword", "sword-2")] == [2.0, 1.0]
    assert library.trashed() == []
    assert library.free_name("Sword") == "Sword-3", "names in another case are taken, too"


@pytest.mark.parametrize("other_disk", [False, True])
@pytest.mark.parametrize("place", ["sub/sword.pt", "sword.pt", "sword.safetensors"])
def test_restoring_in_place_of_the_present_one(
    fake_host: FakeHost, library: Library, monkeypatch: pytest.MonkeyPatch, place: str, other_disk: bool
) -> None:
    if other_disk:
        monkeypatch.setattr("os.replace", between_disks(os.replace))
    put(fake_host, "sword.pt", 1.0, beside=(".json", ".txt"))
    library.delete("sword")
    (item,) = library.trashed()
    put(fake_host, place, 2.0, beside=(".json", ".preview.png"))
    before = state(fake_host)
    (restored,) = library.restore(item.id, replace=True)
    assert restored.loaded
    assert names(fake_host) == {"sword.pt", "sword.json", "sword.txt"}
    assert float(library.read("sword").vectors["clip_l"][0, 0]) == 1.0
    (kept,) = library.trashed()
    assert kept.id != item.id
    assert set(kept.files) == set(before)
    library.delete("sword")
    library.restore(kept.id)
    assert state(fake_host) == before


def test_notes_and_preview_stay_when_an_overwritten_file_comes_back(fake_host: FakeHost, library: Library) -> None:
    put(fake_host, "sword.pt", 1.0)
    library.save(Embedding("sword", {"clip_l": torch.zeros(3, 768)}))
    library.restore(library.trashed()[0].id, replace=True)
    assert (names(fake_host), library.read("sword").count) == (all_of("sword"), 2)
    (item,) = library.trashed()
    library.restore(item.id, replace=True)
    assert (names(fake_host), library.read("sword").count) == (all_of("sword"), 3)


def test_restoring_keeps_what_is_for_another_model(fake_host: FakeHost, library: Library) -> None:
    put(fake_host, "sword.pt", 1.0, beside=())
    library.delete("sword")
    wide = put(fake_host, "xl/sword.pt", beside=())
    write_embedding(Embedding("sword", {"clip_l": torch.ones(1, 768), "clip_g": torch.ones(1, 1280)}), wide)
    put(fake_host, "sub/sword.pt", 2.0, beside=())
    library.restore(library.trashed()[0].id, replace=True)
    assert names(fake_host) == {"sword.pt", "xl/sword.pt"}
    assert library.trashed()[0].files == ("sub/sword.pt",)


def test_a_file_in_the_way_of_a_restored_one_is_replaced(fake_host: FakeHost, library: Library) -> None:
    put(fake_host, "sword.pt", beside=(".json",))
    library.delete("sword")
    (item,) = library.trashed()
    stray = fake_host.info().embeddings_folder / "sword.json"
    stray.write_text("{}", encoding="utf-8")
    with pytest.raises(NameTaken, match=r'"sword\.json" already exists'):
        library.restore(item.id)
    library.restore(item.id, replace=True)
    assert stray.read_text(encoding="utf-8") != "{}"
    assert library.trashed()[0].files == ("sword.json",)


def test_one_that_is_being_trained_is_not_replaced_by_restoring(fake_host: FakeHost, library: Library) -> None:
    put(fake_host, "sword.pt", 1.0)
    library.delete("sword")
    put(fake_host, "sword.pt", 2.0)
    before = state(fake_host)
    with library.lock_for_training("sword"), pytest.raises(BeingTrained):
        library.restore(library.trashed()[0].id, replace=True)
    assert state(fake_host) == before


def test_the_name_in_a_restored_image_is_the_new_one(fake_host: FakeHost, library: Library) -> None:
    folder = fake_host.info().embeddings_folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sword.png").write_bytes(encode(Embedding("sword", {"clip_l": torch.ones(1, 768)}), "png", ".png"))
    library.reload()
    library.delete("sword")
    put(fake_host, "sword.pt", 2.0, beside=())
    (restored,) = library.restore(library.trashed()[0].id, "blade")
    assert restored.file == folder / "blade.png"
    with Image.open(restored.file) as image:
        assert json.loads(base64.b64decode(image.info["sd-ti-embedding"]))["name"] == "blade"
    assert library.trashed() == []


def test_a_renaming_that_replaces(fake_host: FakeHost, library: Library) -> None:
    put(fake_host, "old.pt", 1.0)
    put(fake_host, "sub/new.pt", 2.0)
    renamed = library.rename("old", "new", replace=True)
    assert (renamed.path, names(fake_host)) == ("new.pt", all_of("new"))
    (item,) = library.trashed()
    library.rename("new", "old")
    library.restore(item.id)
    assert names(fake_host) == all_of("old") | all_of("new", "sub/")


def test_the_early_layout_of_the_trash(fake_host: FakeHost, library: Library) -> None:
    file = put(fake_host, "sword.pt", beside=())
    library.trash_folder.mkdir()
    file.rename(library.trash_folder / "sword.20261122-143000-3.pt")
    (entry,) = library.restore("sword.20261122-143000-3.pt")
    assert (entry.file, entry.loaded, library.trashed()) == (file, True, [])


def test_videos_and_texts_follow(fake_host: FakeHost, library: Library) -> None:
    beside = (".txt", ".preview.mp4", ".webm", ".tiff", ".preview.gif", ".civitai.info")
    put(fake_host, "dog.pt", beside=beside)
    put(fake_host, "dog.v2.pt", beside=(".txt", ".preview.mp4"))
    others = {name for name in names(fake_host) if name.startswith("dog.v2.")}
    library.rename("dog", "cat")
    assert names(fake_host) - others == {f"cat{suffix}" for suffix in (".pt", *beside)}
    library.copy("cat", "lion")
    library.delete("cat")
    assert names(fake_host) - others == {f"lion{suffix}" for suffix in (".pt", *beside)}
    library.rename("dog.v2", "wolf")
    assert {"wolf.pt", "wolf.txt", "wolf.preview.mp4"} <= names(fake_host)
    library.restore(library.trashed()[0].id)
    assert {f"cat{suffix}" for suffix in (".pt", *beside)} <= names(fake_host)


def test_the_webuis_text_is_the_description_until_there_is_another(fake_host: FakeHost, library: Library) -> None:
    file = put(fake_host, "dog.pt", beside=())
    text = file.with_suffix(".txt")
    text.write_text("a good dog\n", encoding="utf-8")
    assert library.get("dog").notes.description == "a good dog"
    text.write_text("a very good dog", encoding="utf-8")
    assert library.get("dog").notes.description == "a very good dog"
    assert library.set_notes("dog", {"notes": "mine", "description": "a very good dog"}).notes.notes == "mine"
    assert "description" not in json.loads(file.with_suffix(".json").read_text())
    assert library.set_notes("dog", {"description": "another"}).notes.description == "another"
    assert library.set_notes("dog", {"description": ""}).notes.description == "", "as the WebUI shows it"
    assert Library(fake_host).get("dog").notes.description == ""
    assert text.read_text(encoding="utf-8") == "a very good dog"
    text.write_bytes(b"x" * 2**21)
    assert library.set_notes("dog", {"notes": ""}).notes.notes == ""


def test_one_that_is_being_trained_stays(fake_host: FakeHost, library: Library) -> None:
    put(fake_host, "sword.pt")
    put(fake_host, "other.pt", 2.0)
    before = state(fake_host)
    with library.lock_for_training("sword"):
        for action in (lambda: library.rename("sword", "new"), lambda: library.delete("sword")):
            with pytest.raises(Conflict, match='"sword" is being trained'):
                action()
        with pytest.raises(Conflict), Library(fake_host).lock_for_training("sword"):
            pass
        assert state(fake_host) == before
        library.rename("other", "another")
        library.copy("sword", "copied")
        library.save(Embedding("sword", {"clip_l": torch.zeros(1, 768)}), by_run=True)
    library.rename("sword", "new")


@pytest.mark.parametrize("way", ["save", "create", "merge", "convert", "import", "check"])
def test_one_that_is_being_trained_is_not_overwritten(fake_host: FakeHost, library: Library, tmp_path: Path, way: str) -> None:
    """Not from this process, and not from another, whose libraries share nothing but the folder."""
    put(fake_host, "sword.pt")
    put(fake_host, "other.pt", 2.0)
    other = put(FakeHost(tmp_path / "elsewhere"), "sword.pt", 3.0)
    fake_host.the_model = word_model()
    combining = Combining(fake_host, library)
    ways: dict[str, Callable[[], Any]] = {
        "save": lambda: library.save(Embedding("sword", {"clip_l": torch.zeros(1, 768)})),
        "create": lambda: library.create("sword", vectors=1, overwrite=True),
        "merge": lambda: combining.save("other", "sword", overwrite=True),
        "convert": lambda: combining.convert("sword", "safetensors"),
        "import": lambda: _problem(library.import_files([other], overwrite=True)),
        "check": lambda: combining.check_free("sword", overwrite=True),
    }
    before = state(fake_host)
    with Library(fake_host).lock_for_training("sword"), pytest.raises(Conflict, match='"sword" is being trained'):
        ways[way]()
    assert state(fake_host) == before
    ways[way]()


def _problem(imported: list[Imported]) -> None:
    if imported[0].problem:
        raise Conflict(imported[0].problem)


ACTIONS: dict[str, Callable[[Library], Any]] = {
    "rename": lambda library: library.rename("sword", "new"),
    "copy": lambda library: library.copy("sword", "new"),
    "delete": lambda library: library.delete("sword"),
    "preview": lambda library: library.set_preview("sword", picture("JPEG")),
    "notes and preview": lambda library: library.change("sword", notes={"description": "sharp"}, preview=picture("JPEG")),
    "name and all": lambda library: library.change("sword", new_name="new", notes={"notes": "mine"}, preview=picture("JPEG")),
}


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_at_any_moment(
    fake_host: FakeHost, library: Library, monkeypatch: pytest.MonkeyPatch, call: str, action: str
) -> None:
    """Where no reserve could be made that would be given up for it."""
    monkeypatch.setattr(Journal, "_make_reserve", lambda _self: None)
    put(fake_host, "sword.pt", beside=(".preview.png", ".json"))
    before = state(fake_host)
    number = 0
    for number in range(1, 100):
        with monkeypatch.context() as patch:
            patch.setattr(os, call, full_at(number, getattr(os, call)))
            try:
                ACTIONS[action](library)
                break
            except StorageFailed as error:
                assert "disk is full" in str(error)  # noqa: PT017 - it need not be raised
        assert state(fake_host) == before
        assert library.trashed() == []
    assert number > 3
    assert state(fake_host) != before


@pytest.mark.parametrize("action", ["notes and preview", "name and all"])
@pytest.mark.parametrize("call", ["open", "replace", "unlink"])
def test_a_kill_at_every_call_leaves_all_or_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, action: str
) -> None:
    seen, before, number = set[str](), dict[str, bytes](), 0
    for number in range(1, 1000):
        host = FakeHost(tmp_path / str(number))
        put(host, "sword.pt", beside=(".preview.png", ".json"))
        before, library = state(host), Library(host)
        library.list()
        through = killed_at(monkeypatch, call, number, lambda library=library: ACTIONS[action](library))
        library.trashed()
        (entry,) = Library(host).list()
        values = (entry.name, entry.notes.description or entry.notes.notes, entry.preview and entry.preview.suffix)
        done = ("new", "mine", ".jpg") if action == "name and all" else ("sword", "sharp", ".jpg")
        assert values == done or state(host) == before, (call, number, values)
        assert len(state(host)) == len(before)
        seen.add(values[0] + values[1])
        if through:
            break
    assert number > 3
    assert len(seen) == (1 if call == "unlink" else 2), "what is removed is removed last"


@pytest.mark.parametrize("call", ["open", "replace"])
def test_a_kill_while_restoring_replaces_leaves_all_or_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    seen, number = set[float](), 0
    for number in range(1, 1000):
        host = FakeHost(tmp_path / str(number))
        library = Library(host)
        put(host, "sword.pt", 1.0, beside=(".json",))
        library.delete("sword")
        put(host, "sword.pt", 2.0, beside=(".json", ".preview.png"))
        library.list()
        (item,) = library.trashed()
        through = killed_at(monkeypatch, call, number, lambda library=library, item=item: library.restore(item.id, replace=True))
        later = Library(host)
        later.trashed()
        value = float(later.read("sword").vectors["clip_l"][0, 0])
        (kept,) = later.trashed()
        present, gone = ["sword.json", "sword.pt"], ["sword.json", "sword.preview.png", "sword.pt"]
        assert (sorted(names(host)), sorted(kept.files)) == ((gone, present) if value == 2.0 else (present, gone)), (call, number)
        seen.add(value)
        if through:
            break
    assert number > 3
    assert seen == {1.0, 2.0}


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 1 MB."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", name], capture_output=True, check=False)
        if made.returncode:
            pytest.skip("nothing can be mounted here")
        try:
            yield folder
        finally:
            subprocess.run(["umount", name], check=True)


def fill(folder: Path) -> None:
    with suppress(OSError), (folder / "full").open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs tmpfs")
def test_deleting_on_a_full_disk(small_disk: Path) -> None:
    host = FakeHost(small_disk)
    put(host, "sword.pt", beside=(".preview.png", ".json"))
    put(host, "axe.pt", beside=(".json",))
    put(host, "bow.pt", beside=(".json",))
    library = Library(host)
    library.set_notes("bow", {"notes": "the first change makes a reserve"})
    fill(small_disk)
    with pytest.raises(StorageFailed, match="disk is full"):
        library.copy("sword", "other")
    library.delete("sword")
    assert names(host) == {"axe.pt", "axe.json", "bow.pt", "bow.json"}
    (item,) = library.trashed()
    assert len(item.files) == 3
    fill(small_disk)  # where the reserve was
    with pytest.raises(StorageFailed, match="disk is full") as caught:
        library.delete("axe")
    assert "Empty the trash" in caught.value.hint
    assert names(host) == {"axe.pt", "axe.json", "bow.pt", "bow.json"}
    library.delete("axe", permanently=True)
    assert names(host) == {"bow.pt", "bow.json"}
    fill(small_disk)
    assert library.empty_trash() == 1
    library.delete("bow")
    assert names(host) == set()
    assert not [*small_disk.rglob("*.tmp")]


def test_a_trash_on_another_disk(fake_host: FakeHost, library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that is mounted by itself, whose device looks the same."""
    put(fake_host, "sub/sword.pt")
    before = state(fake_host)
    monkeypatch.setattr(os, "replace", between_disks(os.replace))
    library.delete("sword")
    assert state(fake_host) == {}
    library.restore(library.trashed()[0].id)
    assert state(fake_host) == before
    assert library.trashed() == []


def test_deleting_permanently(fake_host: FakeHost, library: Library) -> None:
    put(fake_host, "sword.pt")
    library.delete("sword", permanently=True)
    assert state(fake_host) == {}
    assert library.trashed() == []


def between_disks(real: Callable[..., Any]) -> Callable[..., Any]:
    """os.replace with the trash on another disk."""

    def replace_(source: Any, target: Any) -> None:
        if ("trash" in Path(source).parts) != ("trash" in Path(target).parts):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        real(source, target)

    return replace_


def full_at(number: int, real: Callable[..., Any]) -> Callable[..., Any]:
    calls = 0

    def full(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments, **options)

    return full


def test_many_threads(fake_host: FakeHost, library: Library) -> None:
    """Each renames and deletes its own; all but the last of those that want one name are refused."""
    for number in range(4):
        put(fake_host, f"own{number}.pt", float(number))
    won, failures = list[int](), list[Exception]()

    def work(number: int) -> None:
        try:
            library.rename(f"own{number}", f"mine{number}")
            try:
                library.rename(f"mine{number}", "wanted")
                won.append(number)
            except Conflict:
                library.delete(f"mine{number}")
        except Exception as error:  # noqa: BLE001 - a thread's failure must reach the test
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(won) == 1
    assert names(fake_host) == all_of("wanted")
    assert len(library.trashed()) == 3
