"""Every format alike: round trips, refusals, and writes that lose nothing."""

from __future__ import annotations

import errno
import importlib.util
import os
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from train_embedding.embeddings import formats
from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.format_names import FORMAT_NAMES, suffixes_of
from train_embedding.embeddings.formats import (
    CONTAINERS,
    MAX_FILE_SIZE,
    encode,
    is_embedding_file,
    read_bytes,
    read_embedding,
    write_embedding,
)
from train_embedding.errors import InvalidInput, NotFound, StorageFailed, UnreadableFile

WIDTHS = [{"clip_l": 768}, {"clip_h": 1024}, {"clip_g": 1280}, {"clip_l": 64}, {"clip_l": 768, "clip_g": 1280}]
ABOUT = {"how": "0.5 * sword + 0.5 * 剣", "trained for": "1 hour"}


def written(format: str, suffix: str) -> bool:
    """Whether such a file can be written here."""
    return suffix != ".jxl" or importlib.util.find_spec("pillow_jxl") is not None


FORMS = [(name, suffix) for name in FORMAT_NAMES for suffix in suffixes_of(name) if written(name, suffix)]
HELD = [(name, suffix) for name, suffix in FORMS if suffix == ".safetensors" or name in ("webui", "png", "image")]
"Forms with a place for what the file says about itself."
USUAL = [".pt", ".bin", ".safetensors", ".png", ".webp"]
"Suffixes that an embedding can be written under on every machine."


def stride(suffix: str, size: int, at_most: int) -> int:
    """How far apart places in a file are tried; those of a JPEG XL picture, which take a process each, ten in all."""
    return max(1, size // (10 if suffix == ".jxl" else at_most))


def an_embedding(widths: dict[str, int], count: int = 3, name: str = "sword") -> Embedding:
    generator = torch.Generator().manual_seed(1)
    vectors = {key: torch.randn(count, width, generator=generator) for key, width in widths.items()}
    return Embedding(name, vectors, 120, "v1-5", "cc6cb27103", metadata=ABOUT)


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("widths", WIDTHS, ids=str)
@pytest.mark.parametrize(("form", "suffix"), FORMS)
def test_round_trip(tmp_path: Path, form: str, suffix: str, widths: dict[str, int]) -> None:
    written = an_embedding(widths)
    path = tmp_path / f"sword{suffix}"
    write_embedding(written, path, form)
    assert is_embedding_file(path)
    read = read_embedding(path)
    assert read.name == "sword"
    # The width alone tells the text encoder where there is one, and the keys do where there are several.
    assert read.widths == widths
    assert all(torch.equal(read.vectors[key], written.vectors[key]) for key in widths)
    # The WebUI calls .detach() on every value for SDXL, and takes a lone tensor only without company.
    if suffix == ".safetensors" or ((form, suffix) in HELD and len(widths) == 1):
        assert (read.step, read.checkpoint_name, read.checkpoint_hash) == (120, "v1-5", "cc6cb27103")
        assert read.metadata == ABOUT
    else:
        assert (read.step, read.checkpoint_name, read.metadata) == (None, None, {})
    assert listing(tmp_path) == [path.name]


@pytest.mark.parametrize(("form", "suffix"), FORMS)
def test_every_bit_of_a_number_survives(form: str, suffix: str) -> None:
    numbers = [0.1, -0.0, 1e-45, 1.1754942e-38, 3.4028235e38, -3.4028235e38, 1 / 3, 16777217.0]
    vectors = torch.tensor([numbers], dtype=torch.float32)
    read = read_bytes(encode(Embedding("sword", {"clip_l": vectors}), form, suffix), f"sword{suffix}")
    assert torch.equal(read.vectors["clip_l"].view(torch.int32), vectors.view(torch.int32))


@pytest.mark.parametrize(("form", "suffix"), FORMS)
def test_a_file_tells_its_form(form: str, suffix: str) -> None:
    one, two = (encode(an_embedding(widths), form, suffix) for widths in WIDTHS[3:])
    # What every host reads in a .safetensors is kohya's form.
    assert read_bytes(one, f"a{suffix}").format == {"safetensors": "kohya"}.get(form, form)
    assert read_bytes(two, f"a{suffix}").format == (form if form in ("png", "image") else "sdxl")
    assert {read_bytes(one, f"a{suffix}").format, read_bytes(two, f"a{suffix}").format} <= set(FORMAT_NAMES)


def test_the_usual_form_of_a_suffix(tmp_path: Path) -> None:
    forms = {".pt": "webui", ".bin": "webui", ".safetensors": "kohya", ".png": "png", ".webp": "image"}
    for suffix, form in forms.items():
        write_embedding(an_embedding({"clip_l": 8}), tmp_path / f"a{suffix}")
        assert read_embedding(tmp_path / f"a{suffix}").format == form


def test_an_upload_is_named_by_its_stem() -> None:
    data = encode(an_embedding({"clip_l": 8}), "kohya", ".pt")
    for sent in ("sword.v2.pt", "C:\\me\\sword.v2.pt", "../../sword.v2.pt", "/etc/sword.v2.PT"):
        assert read_bytes(data, sent).name == "sword.v2"


def test_a_name_inside_that_is_not_the_files_is_told() -> None:
    assert read_bytes(encode(an_embedding({"clip_l": 8}), "png", ".png"), "other.png").metadata["name"] == "sword"


def test_containers_sniff_their_own_and_no_other() -> None:
    forms = ("webui", "safetensors", "png", "image")
    usual = [encode(an_embedding({"clip_l": 8}), name, suffixes_of(name)[0]) for name in forms]
    # A picture with a text is an image too; the text is looked for first.
    assert [[each.sniff(data) for data in usual] for each in CONTAINERS] == [
        [True, False, False, False],
        [False, True, False, False],
        [False, False, True, False],
        [False, False, True, True],
    ]


@pytest.mark.parametrize(
    ("form", "suffix", "reason"),
    [
        ("webui", ".safetensors", r'"webui" has no "\.safetensors"'),
        ("image", ".avif", "avif"),
        ("ckpt", ".pt", 'Unknown format "ckpt"'),
    ],
)
def test_a_form_that_there_is_not(form: str, suffix: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        encode(an_embedding({"clip_l": 8}), form, suffix)


def test_a_non_latin_name(tmp_path: Path) -> None:
    path = tmp_path / "剣 の🗡️.safetensors"
    write_embedding(an_embedding({"clip_l": 8}, name="剣 の🗡️"), path)
    assert read_embedding(path).name == "剣 の🗡️"


def test_no_metadata(tmp_path: Path) -> None:
    for suffix in USUAL:
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
        ("a.preview.pt", True), ("a.Preview.safetensors", True), ("a.preview.png", False),
        ("a.png", False), ("a.txt", False), ("pt", False),
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


@pytest.mark.parametrize("suffix", USUAL)
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
    assert f'"sword{suffix}"' in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(("form", "suffix"), FORMS)
def test_cut_at_any_byte_it_is_refused_or_reads_the_same(form: str, suffix: str) -> None:
    embedding = Embedding("sword", {"clip_l": torch.arange(1.0, 9.0).reshape(1, 8)})
    whole = encode(embedding, form, suffix)
    for size in range(0, len(whole), stride(suffix, len(whole), at_most=len(whole))):
        sentence, read = "", None
        try:
            read = read_bytes(whole[:size], f"sword{suffix}")
        except UnreadableFile as error:
            sentence = error.message
        if read is None:
            assert sentence.startswith(f'"sword{suffix}" ')
            assert "\n" not in sentence
        else:  # the text of a PNG stands before its pixels
            assert form in ("png", "image")
            assert torch.equal(read.vectors["clip_l"], embedding.vectors["clip_l"])


@pytest.mark.parametrize(("form", "suffix"), FORMS)
def test_a_flipped_byte_never_gives_another_error(form: str, suffix: str) -> None:
    whole = encode(an_embedding({"clip_l": 4}, count=1), form, suffix)
    size = whole.index(b"IDAT") if form == "png" else len(whole)  # the pixels of such a file are not read
    step = stride(suffix, size, at_most=500)
    refused = 0
    for position in range(0, size, step):
        try:
            read_bytes(whole[:position] + bytes([whole[position] ^ 0xA5]) + whole[position + 1 :], f"sword{suffix}")
        except UnreadableFile:
            refused += 1
    assert refused > size // step // 8


def test_empty_large_and_odd_files(tmp_path: Path) -> None:
    empty, large = tmp_path / "empty.pt", tmp_path / "large.pt"
    empty.touch()
    with large.open("wb") as file:
        file.truncate(MAX_FILE_SIZE + 1)
    (tmp_path / "folder.pt").mkdir()
    for path, reason in ((empty, "is empty"), (large, "larger than 32 MB"), (tmp_path / "folder.pt", "not a regular file")):
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
    with pytest.raises(UnreadableFile, match=r"it is a \.pt file"):
        read_embedding(tmp_path / "sword.safetensors")


def test_nan_is_refused(tmp_path: Path) -> None:
    save_file({"emb_params": torch.tensor([[1.0, float("nan")]])}, tmp_path / "sword.safetensors")
    torch.save({"*": torch.tensor([[1.0, float("inf")]])}, tmp_path / "sword.pt")
    for suffix in (".safetensors", ".pt"):
        with pytest.raises(UnreadableFile, match="NaN or infinity"):
            read_embedding(tmp_path / f"sword{suffix}")


@pytest.mark.parametrize("suffix", USUAL)
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
    monkeypatch.setattr(formats, "_read", lambda data, file: other)
    with pytest.raises(StorageFailed, match="vectors would change"):
        write_embedding(an_embedding({"clip_l": 8}), tmp_path / "sword.pt")
    assert listing(tmp_path) == []
