"""Every format alike: round trips, refusals, and writes that lose nothing."""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.formats import (
    FORMATS,
    MAX_FILE_SIZE,
    SUFFIXES,
    is_embedding_file,
    read_embedding,
    write_embedding,
)
from train_embedding.errors import InvalidInput, NotFound, StorageFailed, UnreadableFile

WIDTHS = [{"clip_l": 768}, {"clip_h": 1024}, {"clip_g": 1280}, {"clip_l": 64}, {"clip_l": 768, "clip_g": 1280}]


def an_embedding(widths: dict[str, int], count: int = 3, name: str = "sword") -> Embedding:
    generator = torch.Generator().manual_seed(1)
    vectors = {key: torch.randn(count, width, generator=generator) for key, width in widths.items()}
    return Embedding(name, vectors, step=120, checkpoint_name="v1-5", checkpoint_hash="cc6cb27103")


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("widths", WIDTHS, ids=str)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_round_trip(tmp_path: Path, suffix: str, widths: dict[str, int]) -> None:
    written = an_embedding(widths)
    path = tmp_path / f"sword{suffix}"
    write_embedding(written, path)
    read = read_embedding(path)
    assert read.name == "sword"
    assert read.widths == widths
    assert all(torch.equal(read.vectors[key], written.vectors[key]) for key in widths)
    # The WebUI calls .detach() on every value of an SDXL .pt, so nothing but tensors can stand there.
    if suffix == ".safetensors" or len(widths) == 1:
        assert (read.step, read.checkpoint_name, read.checkpoint_hash) == (120, "v1-5", "cc6cb27103")
    assert listing(tmp_path) == [path.name]


@pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.SUFFIXES[0])
def test_sniffs_its_own_and_no_other(format: object) -> None:
    data = [each.write(an_embedding({"clip_l": 8})) for each in FORMATS]
    assert [each.sniff(content) for each in FORMATS for content in data] == [True, False, False, True]


def test_a_non_latin_name(tmp_path: Path) -> None:
    path = tmp_path / "剣 の🗡️.safetensors"
    write_embedding(an_embedding({"clip_l": 8}, name="剣 の🗡️"), path)
    assert read_embedding(path).name == "剣 の🗡️"


def test_no_metadata(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        path = tmp_path / f"sword{suffix}"
        write_embedding(Embedding("sword", {"clip_l": torch.ones(1, 8)}), path)
        read = read_embedding(path)
        assert (read.step, read.checkpoint_name, read.checkpoint_hash) == (None, None, None)


def test_the_name_is_the_stem_whatever_the_file_says(tmp_path: Path) -> None:
    write_embedding(an_embedding({"clip_l": 8}, name="other"), tmp_path / "sword.v2.pt")
    assert read_embedding(tmp_path / "sword.v2.pt").name == "sword.v2"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.pt", True), ("a.PT", True), ("a.bin", True), ("a.safetensors", True), ("a.b.pt", True), ("a.preview.b.pt", True),
        ("a.preview.pt", False), ("a.Preview.safetensors", False), ("a.png", False), ("a.txt", False), ("pt", False),
        (".a.123-ab.tmp", False),
    ],
)  # fmt: skip
def test_is_embedding_file(name: str, expected: bool) -> None:
    assert is_embedding_file(Path("folder", name)) == expected


def test_another_suffix_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"\.ckpt"):
        write_embedding(an_embedding({"clip_l": 8}), tmp_path / "sword.ckpt")


def header_claims_too_much() -> bytes:
    header = b'{"emb_params":{"dtype":"F32","shape":[1000000,768],"data_offsets":[0,64]}}'
    return struct.pack("<Q", len(header)) + header + b"\0" * 64


def header_length_claims_too_much() -> bytes:
    return struct.pack("<Q", 2**60) + b"{}" + b"\0" * 64


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "content",
    [
        b"x", b"\0" * 200, os.urandom(500), b"PK\x03\x04", b"PK\x03\x04" + b"\0" * 300, b"\x80\x02}q\x00.", b"{}", b"<html>",
        header_claims_too_much(), header_length_claims_too_much(), struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 3) + b"[1]", struct.pack("<Q", 5) + b"{\xff\xfe\xfd}",
    ],
    ids=range(13),
)  # fmt: skip
def test_garbage_gives_one_clear_error(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"sword{suffix}"
    path.write_bytes(content)
    with pytest.raises(UnreadableFile) as caught:
        read_embedding(path)
    assert "sword" in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_every_truncation_gives_one_clear_error(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"sword{suffix}"
    write_embedding(an_embedding({"clip_l": 16}), path)
    whole = path.read_bytes()
    for size in range(0, len(whole), 11):
        path.write_bytes(whole[:size])
        with pytest.raises(UnreadableFile):
            read_embedding(path)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_flipped_byte_never_gives_another_error(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"sword{suffix}"
    write_embedding(an_embedding({"clip_l": 4}), path)
    whole = path.read_bytes()
    positions = range(0, len(whole), 3)
    refused = 0
    for position in positions:
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0xA5]) + whole[position + 1 :])
        try:
            read_embedding(path)
        except UnreadableFile:
            refused += 1
    assert refused > len(positions) // 3


def test_empty_large_and_odd_files(tmp_path: Path) -> None:
    empty, large = tmp_path / "empty.pt", tmp_path / "large.pt"
    empty.touch()
    with large.open("wb") as file:
        file.truncate(MAX_FILE_SIZE + 1)
    (tmp_path / "folder.pt").mkdir()
    for path, reason in ((empty, "is empty"), (large, "larger than 64 MB"), (tmp_path / "folder.pt", "not a regular file")):
        with pytest.raises(UnreadableFile, match=reason):
            read_embedding(path)
    with pytest.raises(NotFound):
        read_embedding(tmp_path / "none.pt")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pt")
    with pytest.raises(UnreadableFile, match="not a regular file"):
        read_embedding(tmp_path / "pipe.pt")


def test_a_pickle_under_a_safe_name_is_refused(tmp_path: Path) -> None:
    write_embedding(an_embedding({"clip_l": 8}), tmp_path / "sword.pt")
    (tmp_path / "sword.pt").rename(tmp_path / "sword.safetensors")
    with pytest.raises(UnreadableFile, match=r"belongs into a \.pt file"):
        read_embedding(tmp_path / "sword.safetensors")


def test_nan_is_refused(tmp_path: Path) -> None:
    save_file({"emb_params": torch.tensor([[1.0, float("nan")]])}, tmp_path / "sword.safetensors")
    torch.save({"*": torch.tensor([[1.0, float("inf")]])}, tmp_path / "sword.pt")
    for suffix in (".safetensors", ".pt"):
        with pytest.raises(UnreadableFile, match="NaN or infinity"):
            read_embedding(tmp_path / f"sword{suffix}")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    path = tmp_path / f"sword{suffix}"
    write_embedding(an_embedding({"clip_l": 8}), path)
    old = path.read_bytes()

    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageFailed, match="disk is full"):
        write_embedding(Embedding("sword", {"clip_l": torch.ones(1, 8)}), path)
    assert path.read_bytes() == old
    assert listing(tmp_path) == [path.name]


def test_what_would_not_read_back_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = an_embedding({"clip_l": 8}, count=2)
    monkeypatch.setattr(FORMATS[0], "read", lambda data, name: other)
    with pytest.raises(StorageFailed, match="read back"):
        write_embedding(an_embedding({"clip_l": 8}), tmp_path / "sword.pt")
    assert listing(tmp_path) == []
