"""Creating: the WebUI's values, the checks, and what an overwrite keeps."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path

import pytest
import torch

from tests import checkpoints
from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.formats import read_embedding, write_embedding
from train_embedding.errors import (  # fmt: skip
    Conflict,
    HostFailed,
    InvalidInput,
    InvalidName,
    NotFound,
    StorageFailed,
    TrainEmbeddingError,
)
from train_embedding.services.library.library import Budget, Library
from train_embedding.testing import FakeHost


def folder_of(host: FakeHost) -> Path:
    return host.info().embeddings_folder


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file()) if folder.exists() else []


def test_automatic_is_the_text_itself(word_host: FakeHost) -> None:
    created = Library(word_host).create("sksword", "a red sword")
    assert (created.tokens, created.entry.vectors, created.notes) == (3, 3, ())
    vectors = read_embedding(folder_of(word_host) / "sksword.pt").vectors["clip_l"]
    assert vectors[:, :2].tolist() == [[1.0, 0.0], [3.0, 1.0], [5.0, 2.0]]
    assert vectors.dtype == torch.float32


@pytest.mark.parametrize(("vectors", "places"), [(1, [0]), (2, [0, 1]), (3, [0, 1, 2]), (5, [0, 0, 1, 1, 2])])
def test_fewer_and_more_vectors_than_tokens(word_host: FakeHost, vectors: int, places: list[int]) -> None:
    created = Library(word_host).create("sksword", "a red sword", vectors)
    table = Library(word_host).read("sksword").vectors["clip_l"]
    assert table[:, 1].tolist() == places
    expected = (f"The init text has 3 tokens; the first {vectors} of them were used.",) if vectors < 3 else ()
    assert created.notes == expected


def test_without_the_cut_of_openclip(uncut_word_host: FakeHost) -> None:
    created = Library(uncut_word_host).create("sksword", "one two three four", 2)
    assert Library(uncut_word_host).read("sksword").vectors["clip_h"][:, 1].tolist() == [0, 2]
    assert created.notes == ("The init text has 4 tokens; 2 of them, evenly spaced, were used.",)


def test_every_text_encoder_is_filled(sdxl_word_host: FakeHost) -> None:
    created = Library(sdxl_word_host).create("sksword", "red sword")
    assert (created.entry.family, created.entry.vectors) == ("SDXL", 2)
    vectors = Library(sdxl_word_host).read("sksword").vectors
    assert {key: table[:, 1].tolist() for key, table in vectors.items()} == {"clip_l": [0, 1], "clip_g": [0, 1]}


@pytest.mark.parametrize("text", ["", "  \n"])
@pytest.mark.parametrize(("vectors", "count"), [("auto", 2), (4, 4)])
def test_empty_text_gives_zeros_and_says_so(fake_host: FakeHost, text: str, vectors: int | str, count: int) -> None:
    created = Library(fake_host).create("sksword", text, vectors)
    assert created.tokens == 0
    assert created.notes == ("The init text is empty, so the vectors are zeros.",)
    assert torch.equal(Library(fake_host).read("sksword").vectors["clip_l"], torch.zeros(count, 768))


def test_automatic_stops_at_the_limit(word_host: FakeHost) -> None:
    created = Library(word_host).create("sksword", "word " * 80)
    assert (created.tokens, created.entry.vectors) == (80, 75)


def test_the_file_is_what_the_webui_writes(word_host: FakeHost) -> None:
    Library(word_host).create("sksword", "red sword")
    data = (folder_of(word_host) / "sksword.pt").read_bytes()
    values = torch.serialization.load(io.BytesIO(data), weights_only=True)
    del values["string_to_param"]
    texts = {name: values.pop(name) for name in ("init_text", "vectors")}
    assert texts == {"init_text": "red sword", "vectors": "auto"}, "two texts more, which the WebUI does not look at"
    assert values == {
        "string_to_token": {"*": 265},
        "name": "sksword",
        "step": 0,
        "sd_checkpoint": None,
        "sd_checkpoint_name": None,
    }


def test_the_host_knows_it_at_once(word_host: FakeHost) -> None:
    created = Library(word_host).create("sksword", "red sword")
    assert word_host.reloads == 1
    assert created.entry.loaded
    assert "sksword" in word_host.loaded_embeddings().names


def test_safetensors_on_demand(word_host: FakeHost) -> None:
    assert Library(word_host).create("sksword", "red", suffix=".safetensors").entry.file.name == "sksword.safetensors"
    with pytest.raises(InvalidInput, match=r"\.ckpt"):
        Library(word_host).create("other", "red", suffix=".ckpt")


@pytest.mark.parametrize("vectors", [0, 76, -1, 1.5, float("nan"), float("inf"), True, None, "", "many", "1.5", "٣", [1], 10**30])
def test_other_numbers_of_vectors_are_refused(word_host: FakeHost, vectors: object) -> None:
    with pytest.raises(InvalidInput, match="from 1 to 75"):
        Library(word_host).create("sksword", "red", vectors)  # pyright: ignore[reportArgumentType]
    assert names_in(folder_of(word_host)) == []


@pytest.mark.parametrize(("vectors", "count"), [(2.0, 2), ("2", 2), (" Auto ", 2), (75, 75)])
def test_what_forms_send_is_understood(word_host: FakeHost, vectors: object, count: int) -> None:
    created = Library(word_host).create("sksword", "red", vectors)  # pyright: ignore[reportArgumentType]
    assert created.entry.vectors == count


def test_bad_names_and_texts_write_nothing(word_host: FakeHost) -> None:
    with pytest.raises(InvalidName, match="'/'"):
        Library(word_host).create("../sksword", "red")
    with pytest.raises(InvalidInput, match="must be text"):
        Library(word_host).create("sksword", None)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidInput, match="at most 10000"):
        Library(word_host).create("sksword", "a" * 10_001)
    assert names_in(folder_of(word_host).parent) == []


def test_no_checkpoint(tmp_path: Path) -> None:
    library = Library(FakeHost(tmp_path, widths={}))
    for text in ("", "red"):
        with pytest.raises(HostFailed):
            library.create("sksword", text)


def test_a_new_file_is_one_that_the_host_loads(word_host: FakeHost) -> None:
    word_host.file_suffixes = (".safetensors",)
    library = Library(word_host)
    assert library.create("sks", "red").entry.file.name == "sks.safetensors"
    with pytest.raises(InvalidInput, match=r"fake host does not load embeddings from \.pt files") as refused:
        library.create("other", "red", suffix=".pt")
    assert refused.value.hint == "Use one of .safetensors."
    assert names_in(folder_of(word_host)) == ["sks.safetensors"]


def test_saving_replaces_a_file_that_the_host_does_not_load(word_host: FakeHost) -> None:
    Library(word_host).create("sks", "red")
    word_host.file_suffixes = (".safetensors",)
    saved = Library(word_host).save(Embedding("sks", {"clip_l": torch.ones(1, 2)}))
    assert saved.file.name == "sks.safetensors"
    assert names_in(folder_of(word_host)) == ["sks.safetensors"]
    assert [item.name for item in Library(word_host).trashed()] == ["sks"]


def test_warnings_stand_in_the_notes(word_host: FakeHost) -> None:
    library = Library(word_host)
    library.create("sks", "red")
    word, elsewhere = library.create("tree", "red").notes
    assert "SD.Next (a token of its vocabulary), diffusers (a token of its vocabulary)" in elsewhere
    assert "is a common word" in word
    (contains,) = library.create("skssword", "red").notes
    assert 'Its name contains the name of "sks"' in contains


def test_a_taken_name_is_a_conflict(word_host: FakeHost) -> None:
    library = Library(word_host)
    library.create("sksword", "red")
    old = (folder_of(word_host) / "sksword.pt").read_bytes()
    with pytest.raises(Conflict, match="already"):
        library.create("sksword", "blue sword")
    with pytest.raises(Conflict):
        library.create("sksword", "blue sword", suffix=".safetensors")
    assert (folder_of(word_host) / "sksword.pt").read_bytes() == old
    assert names_in(library.trash_folder) == []


def test_an_overwritten_file_lies_in_the_trash(word_host: FakeHost) -> None:
    library = Library(word_host)
    library.create("sksword", "red")
    old = (folder_of(word_host) / "sksword.pt").read_bytes()
    for text in ("blue sword", "green sword"):
        library.create("sksword", text, overwrite=True)
    assert not library.trash_folder.is_relative_to(folder_of(word_host))
    kept = sorted(library.trash_folder.glob("*/*"), key=lambda path: path.stat().st_mtime_ns)
    assert [path.name for path in kept] == ["sksword.pt", "sksword.pt"]
    assert all(path.parent.name.startswith("sksword.2") for path in kept)
    assert kept[0].read_bytes() == old
    assert library.get("sksword").vectors == 2
    assert names_in(folder_of(word_host)) == ["sksword.pt"]


def test_every_file_of_that_name_gives_way(word_host: FakeHost) -> None:
    """Else the host might go on using another one than the new."""
    folder = folder_of(word_host)
    (folder / "sub").mkdir()
    for path in ("sksword.safetensors", "sub/sksword.bin"):
        write_embedding(Embedding("sksword", {"clip_l": torch.ones(1, 768)}), folder / path)
    (folder / "sksword2.pt").write_bytes(b"another")
    created = Library(word_host).create("sksword", "red sword", overwrite=True)
    assert created.entry.loaded
    assert names_in(folder) == ["sksword.pt", "sksword2.pt"]
    (item,) = Library(word_host).trashed()
    assert item.files == ("sksword.safetensors", "sub/sksword.bin")


def test_it_stays_in_its_subfolder(word_host: FakeHost) -> None:
    folder = folder_of(word_host)
    (folder / "sub").mkdir()
    write_embedding(Embedding("sksword", {"clip_l": torch.ones(1, 768)}), folder / "sub" / "sksword.pt")
    assert Library(word_host).create("sksword", "red sword", overwrite=True).entry.file == folder / "sub" / "sksword.pt"


def test_an_unreadable_file_of_that_name_is_kept_too(word_host: FakeHost) -> None:
    (folder_of(word_host) / "sksword.pt").write_bytes(b"garbage")
    library = Library(word_host)
    with pytest.raises(Conflict):
        library.create("sksword", "red")
    library.create("sksword", "red", overwrite=True)
    assert next(library.trash_folder.glob("*/sksword.pt")).read_bytes() == b"garbage"


def test_a_link_to_the_outside_is_never_written_through(word_host: FakeHost, tmp_path: Path) -> None:
    (tmp_path / "secret.pt").write_bytes(b"keep")
    (folder_of(word_host) / "sksword.pt").symlink_to(tmp_path / "secret.pt")
    with pytest.raises(InvalidName, match="outside"):
        Library(word_host).create("sksword", "red", overwrite=True)
    assert (tmp_path / "secret.pt").read_bytes() == b"keep"
    assert names_in(Library(word_host).trash_folder) == []


def test_a_link_to_itself_is_refused(word_host: FakeHost) -> None:
    link = folder_of(word_host) / "sksword.pt"
    link.symlink_to(link)
    with pytest.raises((InvalidName, StorageFailed)):
        Library(word_host).create("sksword", "red", overwrite=True)
    assert link.is_symlink()


def test_a_full_disk_keeps_the_old_file_and_no_copies(word_host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library(word_host)
    library.create("sksword", "red")
    old = (folder_of(word_host) / "sksword.pt").read_bytes()
    calls = 0
    fsync = os.fsync

    def fills_up(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:  # the copy to the trash is through: its data, its folder; then the new file
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fills_up)
    with pytest.raises(StorageFailed, match="disk is full"):
        library.create("sksword", "blue sword", overwrite=True)
    assert calls == 3
    assert (folder_of(word_host) / "sksword.pt").read_bytes() == old
    assert names_in(folder_of(word_host)) == ["sksword.pt"]
    assert names_in(library.trash_folder) == []


def test_a_trash_that_cannot_be_written_stops_the_overwrite(word_host: FakeHost) -> None:
    library = Library(word_host)
    library.create("sksword", "red")
    old = (folder_of(word_host) / "sksword.pt").read_bytes()
    library.trash_folder.write_text("a file where the folder should be")
    with pytest.raises(StorageFailed):
        library.create("sksword", "blue sword", overwrite=True)
    assert (folder_of(word_host) / "sksword.pt").read_bytes() == old


def test_budget(word_host: FakeHost) -> None:
    library = Library(word_host)
    assert library.budget("", "auto") == Budget(tokens=0, vectors=2, limit=75)
    assert library.budget("a red sword, 4k", "auto") == Budget(tokens=6, vectors=6)
    assert library.budget("a red sword", 8) == Budget(tokens=3, vectors=8)
    assert library.budget("sword " * 100, "auto") == Budget(tokens=100, vectors=75)
    with pytest.raises(InvalidInput):
        library.budget("a red sword", 76)


def test_a_relative_embeddings_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts hand on what their command line says, such as `--embeddings-dir embeddings`."""
    monkeypatch.chdir(tmp_path)
    library = Library(FakeHost(Path("relative")))
    created = library.create("sksword", "", 1)
    assert created.entry.file.resolve() == tmp_path / "relative" / "embeddings" / "sksword.pt"
    library.create("sksword", "", 2, overwrite=True)
    assert [path.name for path in (tmp_path / "relative" / "embeddings").rglob("*")] == ["sksword.pt"]
    assert library.read("sksword").count == 2


def test_from_an_embedding(word_host: FakeHost) -> None:
    library = Library(word_host)
    library.create("source", "one two three four")
    created = library.create("skscopy", "source", start="embedding")
    assert (created.tokens, created.entry.vectors, created.entry.step, created.notes) == (4, 4, 0, ())
    assert torch.equal(library.read("skscopy").vectors["clip_l"], library.read("source").vectors["clip_l"])
    fewer = library.create("sksfewer", " source ", 2, start="embedding")
    assert library.read("sksfewer").vectors["clip_l"][:, 1].tolist() == [0, 2]
    assert fewer.notes == ('"source" has 4 vectors; 2 of them, evenly spaced, were used.',)
    assert library.budget("source", "auto", "embedding") == Budget(4, 4)


def test_an_embedding_of_another_family_is_refused(word_host: FakeHost) -> None:
    library = Library(word_host)
    write_embedding(
        Embedding("big", {"clip_l": torch.ones(1, 768), "clip_g": torch.ones(1, 1280)}), folder_of(word_host) / "big.pt"
    )
    with pytest.raises(Conflict) as caught:
        library.create("copy", "big", start="embedding")
    assert caught.value.message == '"big" is for SDXL; the loaded checkpoint is SD1.'
    assert names_in(folder_of(word_host)) == ["big.pt"]


@pytest.mark.parametrize(
    ("text", "start", "error", "sentence"),
    [
        ("", "embedding", InvalidInput, "The embedding to start from is missing."),
        ("nothing", "embedding", NotFound, 'There is no embedding "nothing".'),
        ("cat", "words", InvalidInput, "The start is 'words'; it must be one of tokens, output, embedding."),
    ],
)
def test_a_bad_start_is_one_sentence(
    word_host: FakeHost, text: str, start: str, error: type[TrainEmbeddingError], sentence: str
) -> None:
    with pytest.raises(error) as caught:
        Library(word_host).create("copy", text, start=start)
    assert caught.value.message == sentence
    assert names_in(folder_of(word_host)) == []


def test_from_what_the_text_encoder_puts_out(tmp_path: Path) -> None:
    model = checkpoints.model()
    host = FakeHost(tmp_path, widths=model.widths, model=model)
    library = Library(host)
    created = library.create("sksword", "a red star", start="output")
    assert (created.tokens, created.entry.vectors) == (3, 3)
    assert torch.equal(library.read("sksword").vectors["clip_l"], model.encode_tokens("a red star")["clip_l"])
    assert host.jobs == ["Encoding the init text"]
    library.create("one", "a red star", 1, start="output")
    assert torch.allclose(library.read("one").vectors["clip_l"], model.encode_tokens("a")["clip_l"], atol=1e-5)
