"""Unsafe files: flagged, sanitized, and not restored into a host that runs pickles."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.hostile_cases import Calls, vectors_and_call
from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.formats import read_embedding, write_embedding
from train_embedding.embeddings.formats.unsafe import UNVERIFIABLE
from train_embedding.errors import Conflict, UnreadableFile
from train_embedding.services.library.file_summary import UNVERIFIED
from train_embedding.services.library.library import Library
from train_embedding.testing import FakeHost


def evil(host: FakeHost, name: str = "evil.pt", data: bytes = b"") -> Path:
    file = host.info().embeddings_folder / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(data or vectors_and_call(str(file.parent / "ran"), True))
    return file


def sound(host: FakeHost, name: str) -> Path:
    file = host.info().embeddings_folder / name
    write_embedding(Embedding(file.stem, {"clip_l": torch.ones(1, 768)}), file)
    return file


def test_it_is_flagged_with_what_the_host_does(library: Library, fake_host: FakeHost) -> None:
    file = evil(fake_host)
    sound(fake_host, "good.pt")
    here = library.get("evil")
    assert here.unsafe_reason.startswith('"evil.pt" imports "posix.system". Nothing in it is executed here')
    assert here.can_sanitize
    fake_host.runs_pickles = True
    there = library.get("evil")
    assert (
        there.unsafe_reason
        == '"evil.pt" imports "posix.system". fake host executes what such a file imports when it loads embeddings.'
    )
    assert not library.get("good").unsafe_reason
    assert file.exists()


def test_doubt_counts_where_the_host_runs_pickles(library: Library, fake_host: FakeHost, tmp_path: Path) -> None:
    assert UNVERIFIABLE in UNVERIFIED
    evil(fake_host, "odd.pt", b"I0x10\ncos\nsystem\n.")
    outside = tmp_path / "outside.pt"
    outside.write_bytes(b"")
    (fake_host.info().embeddings_folder / "link.pt").symlink_to(outside)
    assert [entry.unsafe_reason for entry in library.list()] == ["", ""]
    fake_host.runs_pickles = True
    link, odd = (entry.unsafe_reason for entry in library.list())
    assert "was not read" in link
    assert "could not be verified as safe" in odd
    assert not any(entry.can_sanitize for entry in library.list())


def test_sanitized_in_its_place(library: Library, fake_host: FakeHost) -> None:
    file = evil(fake_host, "old/evil.bin")
    data = file.read_bytes()
    other = sound(fake_host, "evil.pt")
    entry = library.sanitize("evil", "old/evil.bin")
    assert (entry.unsafe_reason, entry.can_sanitize, entry.step, entry.file) == ("", False, 7, file)
    assert torch.equal(read_embedding(file).vectors["clip_l"], torch.ones(2, 768))
    assert other.exists()
    (item,) = library.trashed()
    assert (library.trash_folder / item.id / "old" / "evil.bin").read_bytes() == data
    assert not (file.parent / "ran").exists()


def test_the_host_knows_at_once(library: Library, fake_host: FakeHost) -> None:
    evil(fake_host)
    library.sanitize("evil")
    assert library.get("evil").loaded


def test_it_does_not_come_back_where_it_would_run(library: Library, fake_host: FakeHost) -> None:
    evil(fake_host)
    library.delete("evil")
    (item,) = library.trashed()
    fake_host.runs_pickles = True
    with pytest.raises(Conflict, match=r'"evil\.pt" cannot be restored: it imports "posix\.system"'):
        library.restore(item.id)
    assert library.trashed() == [item]
    fake_host.runs_pickles = False
    assert [entry.name for entry in library.restore(item.id)] == ["evil"]


def test_sound_files_come_back_anywhere(library: Library, fake_host: FakeHost) -> None:
    fake_host.runs_pickles = True
    sound(fake_host, "good.pt")
    library.delete("good")
    assert [entry.name for entry in library.restore(library.trashed()[0].id)] == ["good"]


def test_nothing_to_sanitize(library: Library, fake_host: FakeHost) -> None:
    file = sound(fake_host, "good.pt")
    data = file.read_bytes()
    with pytest.raises(Conflict, match="does not need to be sanitized"):
        library.sanitize("good")
    assert file.read_bytes() == data
    assert not library.trashed()


def test_no_vectors_to_be_had(library: Library, fake_host: FakeHost) -> None:
    import io

    packed = io.BytesIO()
    torch.save(Calls(print, "x"), packed)
    file = evil(fake_host, data=packed.getvalue())
    with pytest.raises(UnreadableFile, match=r'No vectors can be read from "evil\.pt"'):
        library.sanitize("evil")
    assert file.read_bytes() == packed.getvalue()


def test_not_while_it_is_trained(library: Library, fake_host: FakeHost) -> None:
    file = evil(fake_host)
    with library.lock_for_training("evil"), pytest.raises(Conflict, match="is being trained"):
        library.sanitize("evil")
    assert file.exists()


def test_what_is_flagged_is_found_anew_by_the_next_process(library: Library, fake_host: FakeHost) -> None:
    evil(fake_host)
    library.list()
    assert Library(fake_host).get("evil").unsafe_reason


@pytest.mark.parametrize("name", ["evil.ckpt", "evil.pth"])
def test_files_that_only_other_programs_load_are_sanitized_too(library: Library, fake_host: FakeHost, name: str) -> None:
    file = evil(fake_host, name)
    entry = library.sanitize("evil")
    assert (entry.unsafe_reason, entry.file) == ("", file)
    assert torch.equal(read_embedding(file).vectors["clip_l"], torch.ones(2, 768))
