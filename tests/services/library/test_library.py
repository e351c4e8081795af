"""Listing, reading and saving embeddings."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from train_embedding.embeddings import formats
from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.formats import read_contents, write_embedding
from train_embedding.errors import Conflict, HostFailed, InvalidInput, InvalidName, NotFound, UnreadableFile
from train_embedding.hosts.base import OTHER_FAMILY, LoadedEmbeddings
from train_embedding.messages import msg
from train_embedding.services.json_values import to_json
from train_embedding.services.library.library import Library
from train_embedding.services.library.listing import SETTLED_SECONDS
from train_embedding.testing import FakeHost

SDXL = {"clip_l": 768, "clip_g": 1280}


def put(host: FakeHost, path: str, widths: dict[str, int] | None = None, value: float = 1.0, step: int | None = None) -> Path:
    """Writes an embedding file where a person would drop it; the host does not know yet."""
    file = host.info().embeddings_folder / path
    vectors = {key: torch.full((2, width), value) for key, width in (widths or {"clip_l": 768}).items()}
    write_embedding(Embedding(file.stem, vectors, step, "v1-5"), file)
    return file


def test_nothing_there(fake_host: FakeHost) -> None:
    assert Library(fake_host).list() == []


def test_no_folder_there(fake_host: FakeHost) -> None:
    fake_host.info().embeddings_folder.rmdir()
    assert Library(fake_host).list() == []


def test_sorted_by_name_whatever_the_case_and_the_folder(fake_host: FakeHost) -> None:
    for path in ("b.pt", "sub/deep/A.safetensors", "sub/c.bin", "剣.pt"):
        put(fake_host, path)
    assert [entry.name for entry in Library(fake_host).list()] == ["A", "b", "c", "剣"]


def test_what_an_entry_says(fake_host: FakeHost) -> None:
    file = put(fake_host, "sword.pt", step=400)
    (file.parent / "sword.preview.png").touch()
    (entry,) = Library(fake_host).reload()
    assert to_json(entry) == {
        "name": "sword",
        "family": "SD1",
        "vectors": 2,
        "widths": {"clip_l": 768},
        "step": 400,
        "checkpoint": "v1-5",
        "file": str(file),
        "folder": "",
        "format": "webui",
        "size": file.stat().st_size,
        "hash": hashlib.sha256(file.read_bytes()).hexdigest()[:12],
        "modified": file.stat().st_mtime,
        "loaded": True,
        "reason": "",
        "preview": str(file.with_name("sword.preview.png")),
        "sidecars": ["sword.preview.png"],
        "notes": {
            "description": "",
            "notes": "",
            "activation_text": "",
            "negative_text": "",
            "preferred_weight": 0.0,
            "sd_version": "",
        },
        "warnings": ['"sword" is a common word: every prompt that contains it triggers the embedding. A rarer name is safer.'],
        "unsafe_reason": "",
        "can_sanitize": False,
    }
    json.dumps(to_json(entry))


def test_a_torch_file_called_a_preview_is_an_embedding_as_for_the_webui(fake_host: FakeHost) -> None:
    put(fake_host, "sword.pt").with_name("sword.preview.png").touch()
    (fake_host.info().embeddings_folder / "sword.preview.pt").write_bytes(b"cposix\nsystem\n(S'true'\ntR.")
    odd, sword = sorted(Library(fake_host).reload(), key=lambda entry: entry.vectors)
    assert (odd.name, odd.vectors, odd.preview) == ("sword.preview", 0, None)
    assert "posix.system" in odd.unsafe_reason
    assert sword.sidecars == ("sword.preview.png",)


def test_no_preview(fake_host: FakeHost) -> None:
    put(fake_host, "sword.pt")
    assert to_json(Library(fake_host).get("sword"))["preview"] is None


def test_a_dropped_file_needs_a_reload(fake_host: FakeHost) -> None:
    library = Library(fake_host)
    put(fake_host, "sub/sword.pt")
    assert library.get("sword").reason == "It is not loaded yet. Refresh the list."
    (entry,) = library.reload()
    assert entry.loaded
    assert fake_host.reloads == 1


def test_another_family(fake_host: FakeHost) -> None:
    put(fake_host, "sword.pt", SDXL)
    entry = Library(fake_host).get("sword")
    assert (entry.family, entry.loaded) == ("SDXL", False)
    assert "is for SDXL; the loaded checkpoint is SD1" in entry.reason


def test_widths_of_no_known_family(tmp_path: Path) -> None:
    host = FakeHost(tmp_path, {"clip_l": 128})
    put(host, "sword.pt", {"clip_l": 64})
    reason = Library(host).get("sword").reason
    assert reason == '"sword" is for a model of width 64; the loaded checkpoint is a model of width 128.'


def test_the_reason_that_the_host_gives_comes_first(fake_host: FakeHost) -> None:
    put(fake_host, "sword.pt", SDXL)
    (entry,) = Library(fake_host).reload()
    assert entry.reason == "Its vectors are for SDXL."


def test_no_checkpoint_loaded(tmp_path: Path) -> None:
    host = FakeHost(tmp_path, {})
    put(host, "sword.pt")
    assert Library(host).get("sword").reason == "No checkpoint is loaded."


def test_a_checkpoint_of_another_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Flux in Forge, which uses embeddings of SD1 and skips those of SDXL."""
    host = FakeHost(tmp_path, {})
    host.why_no_training = OTHER_FAMILY
    put(host, "sword.pt")
    put(host, "shield.pt", SDXL)
    loaded = LoadedEmbeddings(frozenset({"sword"}), {"shield": msg("Its vectors have another width.")})
    monkeypatch.setattr(host, "loaded_embeddings", lambda: loaded)
    library = Library(host)
    assert [(entry.name, entry.loaded) for entry in library.reload()] == [("shield", False), ("sword", True)]
    assert library.get("shield").reason == "Its vectors have another width."
    with pytest.raises(HostFailed, match="the loaded one belongs to another family"):
        library.create("axe", "")


def test_one_bad_file_does_not_stop_the_list(fake_host: FakeHost) -> None:
    folder = fake_host.info().embeddings_folder
    put(fake_host, "sword.pt")
    (folder / "garbage.pt").write_bytes(b"garbage")
    (folder / "empty.safetensors").touch()
    (folder / "nothing.bin").symlink_to(folder / "none.bin")
    entries = {entry.name: entry for entry in Library(fake_host).reload()}
    assert sorted(entries) == ["empty", "garbage", "nothing", "sword"]
    assert entries["sword"].loaded
    assert "is empty" in entries["empty"].reason
    assert "not an embedding" in entries["garbage"].reason
    for name in ("empty", "garbage", "nothing"):
        assert (entries[name].loaded, entries[name].vectors, entries[name].family) == (False, 0, "")
        assert entries[name].reason


def test_links_that_lead_outside(fake_host: FakeHost, tmp_path: Path) -> None:
    folder = fake_host.info().embeddings_folder
    outside = put(fake_host, "sword.pt").rename(tmp_path / "sword.pt")
    (tmp_path / "more").mkdir()
    outside.rename(tmp_path / "more" / "sword.pt")
    (folder / "file.pt").symlink_to(tmp_path / "more" / "sword.pt")
    (folder / "v1.5 folder").symlink_to(tmp_path / "more")
    entries = {entry.name: entry for entry in Library(fake_host).reload()}
    assert sorted(entries) == ["file", "v1.5 folder"]
    for entry in entries.values():
        assert not entry.loaded
        assert "leads outside the embeddings folder" in entry.reason
    with pytest.raises(UnreadableFile, match="outside"):
        Library(fake_host).read("file")


def test_links_within_the_folder_and_loops(fake_host: FakeHost) -> None:
    folder = fake_host.info().embeddings_folder
    target = put(fake_host, "sub/sword.pt")
    (folder / "alias.pt").symlink_to(target)
    (folder / "loop").symlink_to(folder)
    (folder / "self.pt").symlink_to(folder / "self.pt")
    entries = {entry.name: entry.loaded for entry in Library(fake_host).reload()}
    assert entries == {"alias": True, "self": False, "sword": True}


def test_the_embeddings_folder_may_itself_be_a_link(fake_host: FakeHost, tmp_path: Path) -> None:
    put(fake_host, "sword.pt")
    folder = fake_host.info().embeddings_folder
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    library = Library(fake_host)
    assert [entry.loaded for entry in library.reload()] == [True]
    assert library.save(Embedding("sword", {"clip_l": torch.zeros(1, 768)})).vectors == 1


def test_two_files_of_one_name(fake_host: FakeHost) -> None:
    folder = fake_host.info().embeddings_folder
    put(fake_host, "sword.pt", value=1.0)
    put(fake_host, "sub/sword.pt", value=2.0)
    library = Library(fake_host)
    first, second = sorted(library.reload(), key=lambda entry: entry.loaded)
    assert [first.loaded, second.loaded] == [False, True]
    # os.walk comes to the files of a folder before its subfolders, and the WebUI keeps the last one.
    assert second.file == folder / "sub" / "sword.pt"
    assert first.reason == f'"{second.file}" has the same name and is used instead.'
    assert library.get("sword") == second
    assert float(library.read("sword").vectors["clip_l"][0, 0]) == 2.0


def test_two_files_of_one_name_for_two_families(fake_host: FakeHost) -> None:
    """The WebUI keeps those that do not fit apart, so each is used under its own checkpoint."""
    put(fake_host, "sword.pt")
    put(fake_host, "sub/sword.pt", SDXL)
    library = Library(fake_host)
    assert {entry.family: entry.loaded for entry in library.reload()} == {"SD1": True, "SDXL": False}
    assert library.get("sword").family == "SD1"
    fake_host.widths = SDXL
    assert {entry.family: entry.loaded for entry in library.reload()} == {"SD1": False, "SDXL": True}


def test_a_refresh_reads_only_what_changed(fake_host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def counted(path: Path) -> bytes:
        read.append(path.name)
        return read_contents(path)

    monkeypatch.setattr(formats, "read_contents", counted)
    put(fake_host, "a.pt")
    put(fake_host, "b.pt")
    (fake_host.info().embeddings_folder / "bad.pt").write_bytes(b"garbage")
    time.sleep(2 * SETTLED_SECONDS)
    library = Library(fake_host)
    library.list()
    library.list()
    assert sorted(read) == ["a.pt", "b.pt", "bad.pt"]
    read.clear()
    old = (fake_host.info().embeddings_folder / "a.pt").stat()
    file = put(fake_host, "a.pt", value=3.0, step=9)
    os.utime(file, ns=(old.st_atime_ns, old.st_mtime_ns))
    put(fake_host, "c.pt")
    assert library.get("a").step == 9
    assert sorted(read) == ["a.pt", "c.pt"]


def test_a_deleted_file_is_gone(fake_host: FakeHost) -> None:
    library = Library(fake_host)
    file = put(fake_host, "sword.pt")
    library.list()
    file.unlink()
    assert library.list() == []
    with pytest.raises(NotFound, match="sword"):
        library.read("sword")


def test_a_folder_named_like_an_embedding(fake_host: FakeHost) -> None:
    put(fake_host, "odd.pt/sword.pt")
    assert [entry.name for entry in Library(fake_host).list()] == ["sword"]


def test_read_of_a_bad_file(fake_host: FakeHost) -> None:
    (fake_host.info().embeddings_folder / "bad.pt").write_bytes(b"garbage")
    with pytest.raises(UnreadableFile, match="bad"):
        Library(fake_host).read("bad")


def test_save_makes_a_pt(fake_host: FakeHost) -> None:
    library = Library(fake_host)
    entry = library.save(Embedding("sword", {"clip_l": torch.ones(3, 768)}, step=20, checkpoint_name="v1-5"))
    assert entry.file == fake_host.info().embeddings_folder / "sword.pt"
    assert (entry.loaded, entry.step, entry.vectors, fake_host.reloads) == (True, 20, 3, 1)


def test_save_goes_where_the_embedding_is_and_keeps_the_old_one(fake_host: FakeHost) -> None:
    file = put(fake_host, "sub/sword.safetensors")
    old = file.read_bytes()
    library = Library(fake_host)
    entry = library.save(Embedding("sword", {"clip_l": torch.zeros(1, 768)}))
    assert entry.file == file
    (item,) = library.trashed()
    assert (item.name, item.folder, item.files) == ("sword", "sub", ("sub/sword.safetensors",))
    assert (library.trash_folder / item.id / "sub" / "sword.safetensors").read_bytes() == old
    assert library.read("sword").count == 1


@pytest.mark.parametrize("suffix", [".png", ".webp", ".avif"])
def test_save_over_a_picture(fake_host: FakeHost, suffix: str) -> None:
    """What cannot be written, as AVIF, becomes the usual file, and the old one goes to the trash."""
    file = fake_host.info().embeddings_folder / "old" / f"cat{suffix}"
    file.parent.mkdir()
    form, of = ("image", ".webp") if suffix == ".webp" else ("png", ".png")
    file.write_bytes(formats.encode(Embedding("cat", {"clip_l": torch.ones(1, 768)}), form, of))
    library = Library(fake_host)
    entry = library.save(Embedding("cat", {"clip_l": torch.zeros(1, 768)}))
    assert entry.file == file.with_suffix(".pt" if suffix == ".avif" else suffix)
    assert not library.read("cat").vectors["clip_l"].any()
    assert suffix == entry.file.suffix or not file.exists()


@pytest.mark.parametrize("file", [None, "sword.pt"])
def test_saving_leaves_the_file_of_that_name_for_another_model(fake_host: FakeHost, file: str | None) -> None:
    put(fake_host, "sword.pt")
    other = put(fake_host, "sub/sword.safetensors", SDXL)
    old = other.read_bytes()
    library = Library(fake_host)
    saved = library.save(Embedding("sword", {"clip_l": torch.zeros(1, 768)}), file=Path(file) if file else None)
    assert (saved.file.name, saved.vectors, saved.loaded) == ("sword.pt", 1, True)
    assert other.read_bytes() == old
    assert [item.files for item in library.trashed()] == [("sword.pt",)]
    fake_host.widths = SDXL
    library.reload()
    assert library.save(Embedding("sword", {key: torch.zeros(1, width) for key, width in SDXL.items()})).file == other


def test_overwriting_the_only_file_of_a_name_though_it_is_for_another_model(fake_host: FakeHost) -> None:
    other = put(fake_host, "sub/sword.safetensors", SDXL)
    assert Library(fake_host).save(Embedding("sword", {"clip_l": torch.zeros(1, 768)})).file == other


def test_a_picture_under_the_name_of_a_new_file_is_kept(fake_host: FakeHost) -> None:
    file = put(fake_host, "sword.pt").with_name("sword.png")
    Image.new("RGB", (64, 64), "red").save(file)
    old, library = file.read_bytes(), Library(fake_host)
    embedding = library.read("sword")
    saved = library.save(embedding, file=file)
    assert (saved.file, [entry.file for entry in library.list()]) == (file, [file])
    (item,) = library.trashed()
    assert item.files == ("sword.png", "sword.pt")
    assert (library.trash_folder / item.id / "sword.png").read_bytes() == old


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_a_plain_picture_is_in_the_way_of_a_new_embedding(fake_host: FakeHost, suffix: str) -> None:
    file = fake_host.info().embeddings_folder / f"holiday{suffix}"
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 64), "red").save(file)
    old, library = file.read_bytes(), Library(fake_host)
    embedding = Embedding("holiday", {"clip_l": torch.ones(1, 768)})
    with pytest.raises(Conflict, match=f'"holiday{suffix}" already exists'):
        library.save(embedding, file=file, overwrite=False)
    (imported,) = library.import_files([(file.name, formats.encode(embedding, formats_of(suffix), suffix))])
    assert "already" in imported.problem
    assert file.read_bytes() == old


def formats_of(suffix: str) -> str:
    return "png" if suffix == ".png" else "image"


def test_save_without_overwriting(fake_host: FakeHost) -> None:
    file = put(fake_host, "sub/sword.safetensors")
    old = file.read_bytes()
    with pytest.raises(Conflict):
        Library(fake_host).save(Embedding("sword", {"clip_l": torch.zeros(1, 768)}), overwrite=False)
    assert file.read_bytes() == old


def test_save_to_a_given_file(fake_host: FakeHost) -> None:
    folder = fake_host.info().embeddings_folder
    embedding = Embedding("sword", {"clip_l": torch.zeros(1, 768)})
    library = Library(fake_host)
    for file in (Path("new", "sword.safetensors"), folder / "new" / ".." / "new" / "sword.safetensors"):
        assert library.save(embedding, file=file).file == folder / "new" / "sword.safetensors"
    assert len(library.list()) == 1


@pytest.mark.parametrize("file", ["../sword.pt", "/tmp/sword.pt", "other.pt", "sword.ckpt"])
def test_save_refuses_other_places(fake_host: FakeHost, tmp_path: Path, file: str) -> None:
    with pytest.raises(InvalidInput):
        Library(fake_host).save(Embedding("sword", {"clip_l": torch.zeros(1, 768)}), file=Path(file))
    assert not list(tmp_path.rglob("*sword*"))


def test_save_refuses_bad_names(fake_host: FakeHost) -> None:
    with pytest.raises(InvalidName):
        Library(fake_host).save(Embedding("a/b", {"clip_l": torch.zeros(1, 768)}))


def test_an_odd_name_that_is_there_already_can_be_trained(fake_host: FakeHost) -> None:
    """Files from elsewhere may have names that we would not give."""
    file = put(fake_host, "(old) sword.pt")
    assert Library(fake_host).save(Embedding("(old) sword", {"clip_l": torch.zeros(1, 768)})).file == file


def test_many_threads(fake_host: FakeHost) -> None:
    library, failures = Library(fake_host), list[Exception]()

    def work(number: int) -> None:
        try:
            for step in range(5):
                library.save(Embedding("shared", {"clip_l": torch.ones(1, 8)}, step=step))
                library.save(Embedding(f"own{number}", {"clip_l": torch.ones(1, 8)}))
                library.list()
        except Exception as error:  # noqa: BLE001 - a thread's failure must reach the test
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert [entry.name for entry in library.list()] == ["own0", "own1", "own2", "own3", "shared"]
    assert len(list(library.trash_folder.glob("shared.*"))) == 19


COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


def test_a_name_is_found_in_either_unicode_form(fake_host: FakeHost) -> None:
    library = Library(fake_host)
    for stored, typed in ((DECOMPOSED, COMPOSED), (COMPOSED, DECOMPOSED)):
        library.save(Embedding(stored, {"clip_l": torch.ones(1, 768)}))
        assert library.get(typed).name == stored
        assert library.read(typed).name == stored
        assert library.set_notes(typed, {"notes": "found"}).file.stem == stored
        library.delete(typed)
        assert library.list() == []


def test_of_two_unicode_forms_the_one_that_is_spelled_alike_is_meant(fake_host: FakeHost) -> None:
    library = Library(fake_host)
    for name in (COMPOSED, DECOMPOSED):
        library.save(Embedding(name, {"clip_l": torch.ones(1, 768)}))
    for name in (COMPOSED, DECOMPOSED):
        entry = library.get(name)
        assert entry.name == name
        assert any("in another Unicode form" in warning for warning in entry.warnings)


def test_a_name_in_another_case_is_suggested(fake_host: FakeHost) -> None:
    library = Library(fake_host)
    library.save(Embedding("My-Cat", {"clip_l": torch.ones(1, 768)}))
    with pytest.raises(NotFound) as caught:
        library.get("my-cat")
    assert str(caught.value) == 'There is no embedding "my-cat". Did you mean "My-Cat"?'
