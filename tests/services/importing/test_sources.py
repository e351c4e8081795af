"""The companions of an imported embedding: checked first, and imported together with it or not at all."""

from __future__ import annotations

import io
import json
import os
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests.torch_releases import new_zip
from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.formats import encode
from train_embedding.errors import StorageFailed
from train_embedding.services.importing.sources import read_sources
from train_embedding.services.library.library import Imported, Library
from train_embedding.testing import FakeHost


def embedding(value: float = 1.0) -> bytes:
    return encode(Embedding("sword", {"clip_l": torch.full((2, 768), value)}), "webui", ".pt")


def picture(colour: str = "red", kind: str = "PNG") -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(data, kind)
    return data.getvalue()


def saved(values: object, zipped: bool = False) -> bytes:
    data = io.BytesIO()
    torch.save(values, data, _use_new_zipfile_serialization=zipped)
    return data.getvalue()


class Evil:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch pwned",)


NOTES = json.dumps({"description": "a sword"}).encode()
STATE = saved(
    {"hash": "1", "optimizer_state_dict": {"state": {0: {"exp_avg": torch.zeros(2, 768)}}, "param_groups": [{"lr": 1.0}]}}
)
WHOLE = {
    "sword.pt": embedding(), "sword.preview.png": picture(), "sword.json": NOTES, "sword.pt.optim": STATE,
    "sword.civitai.info": b'{"id": 7}',
}  # fmt: skip


def twice(data: bytes, name: str, first: bytes) -> bytes:
    """An archive with another member of that name before its own."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(packed, "w") as written, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        written.writestr(name, first)
        for member in archive.namelist():
            written.writestr(member, archive.read(member))
    return packed.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "downloads"
    made.mkdir()
    return made


def put(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (folder / name).write_bytes(data)


def files_in(host: FakeHost) -> dict[str, bytes]:
    folder = host.info().embeddings_folder
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def bring(library: Library, downloads: Path, how: str, files: dict[str, bytes], **options: Any) -> list[Imported]:
    """Imports the files as uploads, all by their paths, or the embedding alone by its path."""
    if how == "uploads":
        return library.import_files(list(files.items()), **options)
    put(downloads, files)
    names = files if how == "paths" else [name for name in files if name.endswith((".pt", ".safetensors"))]
    return library.import_files([downloads / name for name in names], **options)


@pytest.mark.parametrize("how", ["uploads", "paths", "path"])
def test_what_belongs_to_an_embedding_comes_along(fake_host: FakeHost, library: Library, folder: Path, how: str) -> None:
    (done,) = bring(library, folder, how, WHOLE, folder="from/me")
    assert (done.file, done.problem) == ("sword.pt", "")
    assert done.entry is not None
    assert done.entry.notes.description == "a sword"
    assert done.entry.preview == fake_host.info().embeddings_folder / "from/me/sword.preview.png"
    assert files_in(fake_host) == {f"from/me/{name}": data for name, data in WHOLE.items()}
    assert all(f'"{name}"' in done.note for name in WHOLE if name != "sword.pt")
    assert done.note.startswith("Imported with it: ")


def test_the_order_of_uploads_does_not_matter(fake_host: FakeHost, library: Library) -> None:
    (done,) = library.import_files(list(reversed(WHOLE.items())))
    assert done.file == "sword.pt"
    assert files_in(fake_host) == WHOLE


REFUSED = {
    "sword.png": b"no picture",
    "sword.jpg": picture(kind="JPEG")[:-40],
    "sword.webp": b"x" * (16 * 2**20 + 1),
    "sword.json": b"[1]",
    "sword.info": b"{",
    "sword.pt.optim": saved({"hash": "1", "optimizer_state_dict": Evil()}),
    "sword.optim": b"garbage",
    "sword.txt": b"\0\1",
    "sword.preview.mp4": b"<script>",
    "sword.tiff": b"no picture",
}


@pytest.mark.parametrize("how", ["uploads", "path"])
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_what_it_says_stays_behind(
    fake_host: FakeHost, library: Library, folder: Path, monkeypatch: pytest.MonkeyPatch, how: str, name: str
) -> None:
    monkeypatch.chdir(folder)
    (done,) = bring(library, folder, how, {"sword.pt": embedding(), name: REFUSED[name]})
    assert done.entry is not None
    assert f'"{name}" was not imported. ' in done.note
    assert list(files_in(fake_host)) == ["sword.pt"]
    assert not (folder / "pwned").exists()


@pytest.mark.parametrize("how", ["uploads", "path"])
def test_a_state_that_other_programs_read_in_another_way_stays_behind(
    fake_host: FakeHost, library: Library, folder: Path, how: str
) -> None:
    state = twice(saved({"hash": "1", "optimizer_state_dict": {}}, True), "archive/data.pkl", pickle.dumps(Evil(), 2))
    (done,) = bring(library, folder, how, {"sword.pt": embedding(), "sword.pt.optim": state})
    assert '"sword.pt.optim" was not imported. ' in done.note
    assert list(files_in(fake_host)) == ["sword.pt"]


@pytest.mark.parametrize("large", [2**20 + 1, 2**24])
def test_notes_that_are_too_large(library: Library, large: int) -> None:
    (done,) = library.import_files([("a.pt", embedding()), ("a.json", b'{"x": "' + b"x" * large + b'"}')])
    assert '"a.json" was not imported. It is larger than 1 MB.' in done.note


@pytest.mark.parametrize("how", ["uploads", "path"])
def test_other_files_do_not_come_along(fake_host: FakeHost, library: Library, folder: Path, how: str) -> None:
    others = {
        "sword.html": b"<script>",
        "sword.v2.txt": b"of another",
        "swords.json": NOTES,
        "shield.preview.png": picture(),
        "sword": b"",
    }
    done = bring(library, folder, how, {"sword.pt": embedding(), **others})
    assert list(files_in(fake_host)) == ["sword.pt"]
    assert [one.entry is not None for one in done] == [True, *([False] * len(others) if how == "uploads" else [])]


@pytest.mark.parametrize("how", ["uploads", "paths", "path"])
def test_the_webuis_description_and_videos_come_along(fake_host: FakeHost, library: Library, folder: Path, how: str) -> None:
    files = {
        "dog.pt": embedding(), "dog.txt": "a good dog, 犬".encode(), "dog.preview.mp4": b"\0\0\0 ftypisom",
        "dog.webm": b"\x1a\x45\xdf\xa3", "dog.tiff": b"II*\0",
    }  # fmt: skip
    (done,) = bring(library, folder, how, files)
    assert files_in(fake_host) == files
    assert done.entry is not None
    assert done.entry.notes.description == "a good dog, 犬"


def test_what_stays_behind_is_named(library: Library, folder: Path) -> None:
    (done,) = bring(library, folder, "path", {"sword.pt": embedding(), "sword.html": b"<script>"})
    assert done.note == '"sword.html" was not imported: files of this type are not supported.'


def test_links_beside_it_are_not_followed(fake_host: FakeHost, library: Library, folder: Path, tmp_path: Path) -> None:
    put(folder, {"sword.pt": embedding(), "own.json": NOTES})
    (tmp_path / "secret.json").write_bytes(NOTES)
    (folder / "sword.json").symlink_to(tmp_path / "secret.json")
    (folder / "sword.civitai.info").symlink_to(folder / "own.json")
    os.mkfifo(folder / "sword.png")
    (done,) = library.import_files([folder / "sword.pt"])
    assert done.note == ""
    assert list(files_in(fake_host)) == ["sword.pt"]


def test_a_shared_server_looks_beside_files_of_its_folders_only(tmp_path: Path) -> None:
    allowed, secret = tmp_path / "allowed", tmp_path / "secret"
    for one in (allowed, secret):
        one.mkdir()
        put(one, WHOLE)
    (secret / "link.pt").symlink_to(allowed / "sword.pt")
    (secret / "link.json").write_bytes(NOTES)
    host = FakeHost(tmp_path / "host", allowed_folders=(allowed,))
    done = Library(host).import_files([secret / "link.pt", allowed / "sword.pt", secret / "sword.pt"])
    assert [(one.entry is not None, one.note) for one in done[::2]] == [(True, ""), (False, "")]
    assert set(files_in(host)) == {"link.pt", *WHOLE}


@pytest.mark.parametrize("how", ["uploads", "path"])
def test_overwriting_sends_what_they_replace_to_the_trash(fake_host: FakeHost, library: Library, folder: Path, how: str) -> None:
    old = {
        "sword.pt": embedding(0.0),
        "sword.png": picture("blue"),
        "sword.jpg": picture("blue", "JPEG"),
        "sword.json": b'{"notes": "x"}',
    }
    library.import_files([*old.items(), ("sword.civitai.info", b'{"id": 1}')])
    new = {"sword.pt": embedding(1.0), "sword.preview.png": picture("green"), "sword.json": NOTES}
    (refused,) = bring(library, folder, how, new)
    assert "already" in refused.problem
    (done,) = bring(library, folder, how, new, overwrite=True)
    assert done.entry is not None, done.problem
    assert files_in(fake_host) == {**new, "sword.civitai.info": b'{"id": 1}'}, "what has no successor stays"
    (item,) = library.trashed()
    assert sorted(item.files) == sorted(old)
    library.delete("sword")
    library.restore(item.id)
    assert files_in(fake_host) == old


def test_left_behind_notes_of_another_one_are_not_overwritten(fake_host: FakeHost, library: Library) -> None:
    put(fake_host.info().embeddings_folder, {"sword.json": b'{"notes": "x"}'})
    (refused,) = library.import_files(list(WHOLE.items()))
    assert '"sword.json" already exists' in refused.problem
    assert files_in(fake_host) == {"sword.json": b'{"notes": "x"}'}
    (done,) = library.import_files(list(WHOLE.items()), overwrite=True)
    assert done.entry is not None
    assert files_in(fake_host) == WHOLE


@pytest.mark.parametrize("overwrite", [False, True])
def test_all_of_it_or_nothing(fake_host: FakeHost, library: Library, monkeypatch: pytest.MonkeyPatch, overwrite: bool) -> None:
    if overwrite:
        library.import_files([("sword.pt", embedding(0.0)), ("sword.json", b'{"notes": "x"}'), ("sword.png", picture("blue"))])
    before, real = files_in(fake_host), os.replace
    for number in range(1, 8 if overwrite else 5):
        calls = 0

        def failing(source: Any, target: Any, number: int = number) -> None:
            nonlocal calls
            calls += not str(target).endswith("change.json")
            if calls == number:
                raise OSError(28, "No space left on device")
            real(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", failing)
            with pytest.raises(StorageFailed):
                library.import_files(list(WHOLE.items()), overwrite=overwrite)
        assert files_in(fake_host) == before, number
        assert library.trashed() == []


def test_a_rewritten_file_keeps_its_sidecars(fake_host: FakeHost, library: Library) -> None:
    (done,) = library.import_files([("sword.bin", new_zip({"x": torch.zeros(2, 768)})), ("sword.bin.optim", STATE)])
    assert done.entry is not None
    assert "was converted to" in done.note
    assert sorted(files_in(fake_host)) == ["sword.pt", "sword.pt.optim"]


@pytest.mark.parametrize("form", ["png", "image"])
def test_a_preview_never_takes_the_embeddings_place(fake_host: FakeHost, library: Library, form: str) -> None:
    """The WebUI loads a picture that carries an embedding, unless its name says that it is a preview."""
    other = encode(Embedding("sword", {"clip_l": torch.full((1, 768), 7.0)}), form, ".png")
    (done,) = library.import_files([("sword.pt", embedding()), ("sword.png", other)])
    assert done.entry is not None
    assert (done.entry.vectors, done.entry.loaded) == (2, True)
    assert sorted(files_in(fake_host)) == ["sword.preview.png", "sword.pt"]


def test_a_picture_that_is_an_embedding_brings_its_notes(fake_host: FakeHost, library: Library) -> None:
    carrier = encode(Embedding("sword", {"clip_l": torch.ones(1, 768)}), "png", ".png")
    (done,) = library.import_files([("sword.json", NOTES), ("sword.png", carrier), ("sword.preview.png", picture())])
    assert done.entry is not None, done.problem
    assert done.entry.notes.description == "a sword"


def test_an_ordinary_picture_alone_is_refused_once(library: Library) -> None:
    (done,) = library.import_files([("holiday.png", picture()), ("holiday.json", NOTES)])
    assert done.file == "holiday.png"
    assert "image without an embedding" in done.problem or "not an embedding" in done.problem


def test_of_two_files_of_one_name_the_first_brings_them(fake_host: FakeHost, library: Library) -> None:
    both = [
        ("sword.pt", embedding()),
        ("sword.safetensors", encode(Embedding("x", {"clip_l": torch.ones(1, 768)}), "kohya", ".safetensors")),
    ]
    done = library.import_files([*both, ("sword.json", NOTES)])
    assert [one.entry is not None for one in done] == [True, False]
    assert sorted(files_in(fake_host)) == ["sword.json", "sword.pt"]


def test_names_of_uploads_are_not_looked_for_on_the_disk(folder: Path) -> None:
    put(folder, WHOLE)
    (file,) = read_sources([(str(folder / "sword.pt"), embedding())], None)
    assert (file.companions, file.note) == ((), "")
