"""Files from elsewhere: kept as they are where hosts can read them, converted where not, refused where they are no embedding."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from tests.torch_releases import new_zip
from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.formats import encode, read_embedding
from train_embedding.errors import InvalidInput, InvalidName, NotFound, StorageFailed
from train_embedding.services.library.export import Exported
from train_embedding.services.library.library import Library
from train_embedding.testing import FakeHost

VECTORS = torch.arange(2 * 768, dtype=torch.float32).reshape(2, 768) / 1000
WIDE = torch.ones(2, 1280)


def saved(values: object, zipped: bool = False) -> bytes:
    data = io.BytesIO()
    torch.save(values, data, _use_new_zipfile_serialization=zipped)
    return data.getvalue()


def plain_zip(values: object) -> bytes:
    """What torch before 2.6 writes: no members but those that the WebUI knows."""
    source, target = zipfile.ZipFile(io.BytesIO(saved(values, zipped=True))), io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for member in source.namelist():
            if member.rpartition("/")[2] in ("data.pkl", "version", "byteorder", "0"):
                archive.writestr(member, source.read(member))
    return target.getvalue()


WEBUI = {"string_to_token": {"*": 265}, "string_to_param": {"*": VECTORS}, "name": "x", "step": 3}


class Evil:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch pwned",)


def files_in(host: FakeHost) -> list[str]:
    folder = host.info().embeddings_folder
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


AS_IT_IS = {
    "webui.pt": saved(WEBUI),
    "old zip.pt": plain_zip(WEBUI),
    "bin.bin": saved({"<cat>": VECTORS}),
    "one-dim.bin": saved({"<cat>": VECTORS[0]}),
    "half.pt": saved({"string_to_param": {"*": VECTORS.half()}}),
    "kohya.safetensors": save({"emb_params": VECTORS}),
    "sdxl.safetensors": save({"clip_l": VECTORS, "clip_g": WIDE}),
    "sdxl.pt": saved({"clip_l": VECTORS, "clip_g": WIDE}),
    "ünï 剣.PT": saved(WEBUI),
}


@pytest.mark.parametrize("name", AS_IT_IS)
def test_what_hosts_can_read_keeps_its_bytes_and_so_its_hash(fake_host: FakeHost, library: Library, name: str) -> None:
    ((done),) = library.import_files([(name, AS_IT_IS[name])])
    assert (done.file, done.problem, done.note) == (name, "", "")
    assert done.entry is not None
    assert done.entry.file == fake_host.info().embeddings_folder / name
    assert done.entry.file.read_bytes() == AS_IT_IS[name]
    assert done.entry.hash == hashlib.sha256(AS_IT_IS[name]).hexdigest()[:12]


CONVERTED = {
    "new zip.pt": new_zip(WEBUI),
    "with text.pt": saved({"clip_l": VECTORS, "clip_g": WIDE, "name": "sdxl"}),
    "ordered.pt": saved(__import__("collections").OrderedDict({"<cat>": VECTORS})),
    "two params.pt": saved({"string_to_param": {"*": VECTORS, "note": "text"}}),
}


@pytest.mark.parametrize("name", CONVERTED)
def test_what_hosts_cannot_read_is_converted(library: Library, name: str) -> None:
    (done,) = library.import_files([(name, CONVERTED[name])])
    assert done.entry is not None, done.problem
    assert f'"{name}" was converted to "{Path(name).stem}.pt" with the same vectors' in done.note
    assert done.entry.file.suffix == ".pt"
    assert torch.equal(read_embedding(done.entry.file).vectors["clip_l"], VECTORS)
    (again,) = library.import_files([("again.pt", done.entry.file.read_bytes())])
    assert again.entry is not None
    assert again.note == "", "the form that every host reads"


def test_what_this_host_does_not_load_is_converted(library: Library, fake_host: FakeHost) -> None:
    fake_host.file_suffixes = (".safetensors",)
    (done,) = library.import_files([("cat.pt", saved(WEBUI))])
    assert done.entry is not None, done.problem
    assert done.entry.file.name == "cat.safetensors"
    assert done.note.endswith("with the same vectors: this program does not load .pt files.")
    assert torch.equal(read_embedding(done.entry.file).vectors["clip_l"], VECTORS)


@pytest.mark.parametrize("turned", [False, True])
def test_diffusers_two_files_for_sdxl_become_one(library: Library, turned: bool) -> None:
    one = ("learned_embeds.safetensors", save({"clip_l": VECTORS}))
    two = ("learned_embeds_2.safetensors", save({"clip_g": WIDE}))
    (done,) = library.import_files([two, one] if turned else [one, two])
    assert done.entry is not None, done.problem
    assert done.file == "learned_embeds.safetensors and learned_embeds_2.safetensors"
    assert "vectors for both text encoders" in done.note
    assert (done.entry.file.name, done.entry.family) == ("learned_embeds.pt", "SDXL")
    read = read_embedding(done.entry.file)
    assert torch.equal(read.vectors["clip_l"], VECTORS)
    assert torch.equal(read.vectors["clip_g"], WIDE)
    assert [entry.name for entry in library.list()] == ["learned_embeds"]


@pytest.mark.parametrize("data", [saved(WEBUI), saved(WEBUI, zipped=True)], ids=["kept", "converted"])
def test_an_import_under_another_name(fake_host: FakeHost, library: Library, tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "learned_embeds.bin"
    file.write_bytes(data)
    (tmp_path / "learned_embeds.json").write_text('{"description": "a cat"}')
    (done,) = library.import_files([file], name="my-cat")
    assert done.entry is not None, done.problem
    assert (done.entry.name, done.entry.notes.description) == ("my-cat", "a cat")
    assert files_in(fake_host) == sorted(["my-cat.json", done.entry.file.name])
    assert torch.equal(read_embedding(done.entry.file).vectors["clip_l"], VECTORS)


def test_a_picture_imported_under_another_name_is_called_by_it(library: Library) -> None:
    data = encode(Embedding("cat", {"clip_l": VECTORS}), "png", ".png")
    (done,) = library.import_files([("cat.png", data)], name="dog")
    assert done.entry is not None, done.problem
    assert (done.entry.name, done.entry.file.name) == ("dog", "dog.pt")
    assert 'the WebUI would use the trigger word "cat"' in done.note


def test_a_pair_under_another_name(library: Library) -> None:
    files = [("learned_embeds.bin", saved({"clip_l": VECTORS})), ("learned_embeds_2.bin", saved({"clip_g": WIDE}))]
    (done,) = library.import_files(files, name="my-cat")
    assert done.entry is not None, done.problem
    assert (done.entry.name, done.entry.family) == ("my-cat", "SDXL")


def test_one_name_is_for_one_embedding(fake_host: FakeHost, library: Library) -> None:
    with pytest.raises(InvalidInput, match='The name "x" cannot be given to 2 embeddings'):
        library.import_files([("a.pt", saved(WEBUI)), ("b.pt", saved(WEBUI))], name="x")
    with pytest.raises(InvalidName):
        library.import_files([("a.pt", saved(WEBUI))], name="a/b")
    assert files_in(fake_host) == []


def test_names_alone_make_no_pair(library: Library) -> None:
    done = library.import_files([("cat_2.pt", saved(WEBUI)), ("cat.pt", saved(WEBUI)), ("dog_2.pt", saved(WEBUI))])
    assert [(one.file, one.problem) for one in done] == [("cat_2.pt", ""), ("cat.pt", ""), ("dog_2.pt", "")]


@pytest.mark.parametrize(("form", "suffix"), [("png", ".png"), ("image", ".png"), ("image", ".webp")])
def test_pictures_keep_their_bytes_unless_they_call_the_embedding_otherwise(library: Library, form: str, suffix: str) -> None:
    data = encode(Embedding("cat", {"clip_l": VECTORS}), form, suffix)
    same, other = library.import_files([(f"cat{suffix}", data), (f"dog{suffix}", data)])
    assert same.entry is not None
    assert (same.entry.file.read_bytes(), same.note) == (data, "")
    assert other.entry is not None
    assert other.entry.file.name == "dog.pt"
    assert 'the WebUI would use the trigger word "cat"' in other.note


def test_an_archive_that_means_two_things(library: Library) -> None:
    """Python reads the last directory of the archive; the bytes before may be another archive, for another reader."""
    benign = plain_zip(WEBUI)
    other = plain_zip({"string_to_param": {"*": VECTORS + 1}})
    forged = other + benign
    (done,) = library.import_files([("forged.pt", forged)])
    assert done.entry is None
    assert done.problem == '"forged.pt" is a zip archive whose directory is not where its end record says.'


def with_a_deflated_version() -> tuple[bytearray, zipfile.ZipInfo]:
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(plain_zip(WEBUI))) as source, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in source.namelist():
            archive.writestr(name, bytes(1_000_000) if name.endswith("/version") else source.read(name))
        (member,) = (one for one in archive.infolist() if one.filename.endswith("/version"))
    return bytearray(target.getvalue()), member


def written_anew(library: Library, data: bytes) -> None:
    (done,) = library.import_files([("odd.pt", data)])
    assert "its zip layout" in done.note
    assert done.entry is not None
    assert torch.equal(read_embedding(done.entry.file).vectors["clip_l"], VECTORS)


def test_a_member_that_no_vector_needs_is_damaged(library: Library) -> None:
    data, member = with_a_deflated_version()
    start = member.header_offset + 30 + len(member.filename)
    data[start : start + member.compress_size] = b"\xff" * member.compress_size
    written_anew(library, bytes(data))


def test_a_member_that_no_vector_needs_unpacks_to_more_than_it_says(library: Library) -> None:
    data, member = with_a_deflated_version()
    said = member.file_size.to_bytes(4, "little")
    assert data.count(said) == 2  # before the member, and in the directory
    written_anew(library, bytes(data.replace(said, (16).to_bytes(4, "little"))))


REFUSED = {
    "evil.pt": (saved({"string_to_param": Evil()}), "nothing in the file was executed"),
    "evil zip.pt": (saved({"string_to_param": Evil()}, zipped=True), "nothing in the file was executed"),
    "evil.bin": (pickle.dumps(Evil()), "not an embedding"),
    "garbage.pt": (b"garbage", "not an embedding"),
    "empty.pt": (b"", "empty"),
    "cut.pt": (saved(WEBUI)[:500], "damaged"),
    "wrong.safetensors": (saved(WEBUI), "has the wrong suffix"),
    "text.txt": (b"hello", "not an embedding"),
    "none": (saved(WEBUI), "has the wrong suffix"),
    "a/b.pt": (saved(WEBUI), "'/'"),
    "..\\b.pt": (saved(WEBUI), "'\\'"),
    "../b.pt": (saved(WEBUI), "'/'"),
    "con.pt": (saved(WEBUI), "reserved"),
    ".pt": (saved(WEBUI), "begins with"),
    "": (saved(WEBUI), "empty"),
    "nan.pt": (saved({"<cat>": torch.full((1, 768), float("nan"))}), "NaN"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_leaves_no_trace(
    fake_host: FakeHost, library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    data, sentence = REFUSED[name]
    (done,) = library.import_files([(name, data)])
    assert (done.file, done.entry) == (name, None)
    assert sentence in done.problem
    assert files_in(fake_host) == []
    assert not list(tmp_path.rglob("pwned"))
    assert not list(tmp_path.rglob("*.tmp"))


def test_several_at_once_from_paths_and_uploads(fake_host: FakeHost, library: Library, tmp_path: Path) -> None:
    (tmp_path / "one.pt").write_bytes(saved(WEBUI))
    (tmp_path / "bad.pt").write_bytes(b"garbage")
    (tmp_path / "folder.pt").mkdir()
    sources = [tmp_path / "one.pt", tmp_path / "bad.pt", tmp_path / "none.pt", tmp_path / "folder.pt", ("up.pt", saved(WEBUI))]
    reloads = fake_host.reloads
    done = library.import_files(sources, folder="from/elsewhere")
    assert [(one.file, one.entry is not None) for one in done] == [
        ("one.pt", True), ("bad.pt", False), ("none.pt", False), ("folder.pt", False), ("up.pt", True),
    ]  # fmt: skip
    assert "does not exist" in done[2].problem
    assert "not a regular file" in done[3].problem
    assert files_in(fake_host) == ["from", "from/elsewhere", "from/elsewhere/one.pt", "from/elsewhere/up.pt"]
    assert fake_host.reloads == reloads + 1
    assert all(one.entry.loaded for one in done if one.entry)
    assert (tmp_path / "one.pt").exists()


def test_a_taken_name(fake_host: FakeHost, library: Library) -> None:
    library.save(Embedding("cat", {"clip_l": torch.zeros(1, 768)}), file=Path("sub/cat.safetensors"))
    library.set_notes("cat", {"notes": "mine"})
    (refused,) = library.import_files([("cat.pt", saved(WEBUI))])
    assert "already" in refused.problem
    (done,) = library.import_files([("cat.pt", saved(WEBUI))], overwrite=True)
    assert done.entry is not None
    assert (done.entry.path, done.entry.notes.notes) == ("sub/cat.pt", "mine")
    assert library.trashed()[0].files == ("sub/cat.safetensors",)
    assert "sub/cat.safetensors" not in files_in(fake_host)
    with library.lock_for_training("cat"):
        (refused,) = library.import_files([("cat.pt", saved(WEBUI))], overwrite=True)
        assert "being trained" in refused.problem


@pytest.mark.parametrize("folder", ["..", "../x", "/tmp", "a/../../x"])
def test_folders_outside(fake_host: FakeHost, library: Library, folder: str) -> None:
    (done,) = library.import_files([("cat.pt", saved(WEBUI))], folder=folder)
    assert "outside the embeddings folder" in done.problem
    assert files_in(fake_host) == []


def test_a_shared_server_reads_no_other_folders(tmp_path: Path) -> None:
    allowed, secret = tmp_path / "allowed", tmp_path / "secret"
    for folder in (allowed, secret):
        folder.mkdir()
        (folder / "cat.pt").write_bytes(saved(WEBUI))
    (allowed / "link.pt").symlink_to(secret / "cat.pt")
    library = Library(FakeHost(tmp_path / "host", allowed_folders=(allowed,)))
    sources = [
        secret / "cat.pt",
        secret / "none.pt",
        allowed / "link.pt",
        allowed / ".." / "secret" / "cat.pt",
        allowed / "cat.pt",
    ]
    done = library.import_files(sources)
    assert [one.entry is not None for one in done] == [False, False, False, False, True]
    assert all("is outside the folders that are allowed" in one.problem for one in done[:4]), "what exists there is not told"


def test_a_full_disk(fake_host: FakeHost, library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageFailed, match="disk is full"):
        library.import_files([("cat.pt", saved(WEBUI))])
    assert files_in(fake_host) == []


def test_exporting(library: Library, tmp_path: Path) -> None:
    library.import_files([("cat.pt", AS_IT_IS["webui.pt"])])
    assert library.export("cat") == Exported("cat.pt", AS_IT_IS["webui.pt"])
    for form, suffix, file_name in (
        ("safetensors", "", "cat.safetensors"),
        ("webui", ".bin", "cat.bin"),
        ("", ".bin", "cat.bin"),
    ):
        made = library.export("cat", form, suffix)
        assert made.file_name == file_name
        (tmp_path / file_name).write_bytes(made.data)
        assert torch.equal(read_embedding(tmp_path / file_name).vectors["clip_l"], VECTORS)
    for form, suffix in (("onnx", ""), ("safetensors", ".pt"), ("", ".exe")):
        with pytest.raises(Exception, match=r"form|cannot be written"):
            library.export("cat", form, suffix)
    with pytest.raises(NotFound):
        library.export("nobody")


@pytest.mark.parametrize(("first", "second"), [("learned_embeds.safetensors", "learned_embeds_2.safetensors")])
def test_one_file_of_a_pair_names_the_other(library: Library, tmp_path: Path, first: str, second: str) -> None:
    one, two = save({"<cat>": torch.ones(2, 768)}), save({"<cat>": torch.ones(2, 1280)})
    (alone,) = library.import_files([(second, two)])
    assert f'Import "{first}" together with it.' in alone.note
    (tmp_path / first).write_bytes(one)
    (here,) = library.import_files([tmp_path / first], name="by-itself")
    assert "together" not in here.note
    (tmp_path / second).write_bytes(two)
    (beside,) = library.import_files([tmp_path / first], name="beside")
    assert f'Import "{second}" together with it.' in beside.note
    (both,) = library.import_files([tmp_path / first, tmp_path / second], name="cat")
    assert "together" not in both.note


@pytest.mark.parametrize(("suffix", "form"), [(".ckpt", ".pt"), (".pth", ".pt"), (".sft", ".safetensors")])
def test_files_that_the_webui_passes_over_are_converted(library: Library, suffix: str, form: str) -> None:
    embedding = Embedding("sword", {"clip_l": VECTORS})
    (done,) = library.import_files([(f"sword{suffix}", encode(embedding, "kohya", form))])
    assert done.entry is not None, done.problem
    assert done.entry.file.name == "sword.pt"
    assert f"the WebUI does not load {suffix} files" in done.note
    assert torch.equal(read_embedding(done.entry.file).vectors["clip_l"], VECTORS)
