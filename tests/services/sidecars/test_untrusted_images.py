"""Pictures from people: what decoding them takes at most, and that ordinary ones are taken as they come."""

from __future__ import annotations

import io
import os
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.memory import MOST, PATIENCE, taken_by
from train_embedding.embeddings.formats import is_embedding_file  # loaded before the memory is measured, too
from train_embedding.errors import UnreadableFile
from train_embedding.images.limits import PREVIEW
from train_embedding.images.png import make_chunk
from train_embedding.services.sidecars import untrusted_images
from train_embedding.services.sidecars.untrusted_images import SUFFIXES, check_preview, decode_preview, read_preview
from train_embedding.ui.library import thumbnails

LARGEST = (4096, 4096)
LARGEST_WEBP = (4096, 3072)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def noise(mode: str, size: tuple[int, int]) -> Image.Image:
    return Image.frombytes(mode, size, os.urandom(size[0] * size[1] * len(Image.new(mode, (1, 1)).tobytes())))


def enlarged(mode: str) -> Image.Image:
    return noise(mode, (512, 512)).resize(LARGEST, Image.Resampling.NEAREST)


def png_16_bit_interlaced() -> bytes:
    packed, parts = zlib.compressobj(1), list[bytes]()
    for x, y, across, down in ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)):
        width, height = (LARGEST[0] - x + across - 1) // across, (LARGEST[1] - y + down - 1) // down
        row = b"\4" + os.urandom(8) * width  # Paeth's filter is the slowest
        parts += [packed.compress(row) for _ in range(height)]
    pixels = b"".join([*parts, packed.flush()])
    head = struct.pack(">IIBBBBB", *LARGEST, 16, 6, 0, 0, 1)
    return b"\x89PNG\r\n\x1a\n" + make_chunk(b"IHDR", head) + make_chunk(b"IDAT", pixels) + make_chunk(b"IEND", b"")


def jpeg_of_passes(count: int, size: tuple[int, int] = LARGEST) -> bytes:
    """A progressive JPEG whose last pass is repeated until there are so many."""
    data = saved(Image.new("RGB", size), "JPEG", progressive=True, subsampling=0)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * (count - data.count(b"\xff\xda")) + data[-2:]


def jpeg_of_exif(pieces: int) -> bytes:
    data = saved(Image.new("RGB", (8, 8)), "JPEG")
    return data[:2] + b"\xff\xe1\x00\x12Exif\0\0aaaaaaaaaa" * pieces + data[2:]


def gif_of_comment(pieces: int, before: bytes = b"") -> bytes:
    data = saved(Image.new("P", (8, 8)), "GIF")
    first = data.index(b",", 13 + (3 << (data[10] & 7) + 1))  # after the palette
    return data[:first] + before + b"!\xfe" + (b"\xff" + b"a" * 255) * pieces + b"\0" + data[first:]


def png_of_texts(count: int) -> bytes:
    """Each of 63 kB unpacks to 1 MB, which Python keeps as 4 MB for the sake of the last character."""
    data = saved(Image.new("RGB", (8, 8)), "PNG")
    text = zlib.compress(b"a" * 10**6 + "🗡".encode())
    return data[:33] + b"".join(make_chunk(b"iTXt", b"%d\0\1\0\0\0" % number + text) for number in range(count)) + data[33:]


LARGE: dict[str, tuple[Callable[[], bytes], str]] = {
    "WebP without losses": (lambda: saved(Image.new("RGBA", LARGEST_WEBP), "WEBP", lossless=True, method=0), ".webp"),
    "WebP of a large profile": (
        lambda: saved(Image.new("RGBA", LARGEST_WEBP), "WEBP", lossless=True, method=0, icc_profile=os.urandom(15 * 2**20)),
        ".webp",
    ),
    "JPEG, progressive, CMYK": (lambda: saved(enlarged("CMYK"), "JPEG", progressive=True, quality=70, subsampling=0), ".jpg"),
    "PNG of 16 bits, interlaced": (png_16_bit_interlaced, ".png"),
    "WebP of 63 million pixels": (
        lambda: saved(Image.new("RGBA", (8000, 7900)), "WEBP", lossless=True, method=0),
        "The image has 8000 × 7900 pixels; a WEBP preview may have at most 12.6 million.",
    ),
    "JPEG of 36 million pixels": (
        lambda: saved(Image.new("CMYK", (6000, 6000)), "JPEG", progressive=True),
        "The image has 6000 × 6000 pixels; a JPEG preview may have at most 16.8 million.",
    ),
}
LONG: dict[str, tuple[Callable[[], bytes], str]] = {
    "JPEG of 32 passes": (lambda: jpeg_of_passes(32), ".jpg"),
    "JPEG of 200 passes": (
        lambda: jpeg_of_passes(200),
        "The image cannot be read: it has 200 scans; at most 32 are allowed.",
    ),
    "JPEG of Exif in pieces": (lambda: jpeg_of_exif(400_000), "The image cannot be read."),
    "GIF of a long comment": (lambda: gif_of_comment(30_000), ".gif"),
    "GIF of a hidden comment": (lambda: gif_of_comment(30_000, b"\x01"), "The image cannot be read."),
    "PNG of texts": (lambda: png_of_texts(60), ".png"),
    "PNG of 400 million pixels": (
        lambda: saved(Image.new("1", (20_000, 20_000)), "PNG"),
        "The image has 20000 × 20000 pixels; a PNG preview may have at most 16.8 million.",
    ),
}


def looked_at(file: str) -> str:
    """What is said of a file that is sent, and whether the one that lies there is shown."""
    shown = "shown" if thumbnails.portrait(Path(file)) else "not shown"
    try:
        return f"{check_preview(read_preview(Path(file)))} {shown}"
    except UnreadableFile as refusal:
        return f"{refusal.message} {shown}"


def expected(said: str) -> str:
    return f"{said} {'shown' if said.startswith('.') else 'not shown'}"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == "WebP without losses" else pytest.mark.slow) for name in LARGE]
)
def test_within_the_memory(tmp_path: Path, name: str) -> None:
    make, said = LARGE[name]
    file = tmp_path / "sword.preview.png"
    file.write_bytes(make())
    taken = taken_by(looked_at, file)
    assert taken.answer == expected(said)
    assert taken.memory < MOST
    assert taken.seconds < 2 * PATIENCE  # it is decoded twice


@pytest.mark.parametrize("name", LONG)
def test_within_the_time(tmp_path: Path, name: str) -> None:
    make, said = LONG[name]
    file = tmp_path / "sword.preview.png"
    file.write_bytes(make())
    start = time.process_time()
    assert looked_at(str(file)) == expected(said)
    assert time.process_time() - start < 2 * PATIENCE


@pytest.mark.parametrize(("kind", "size"), [(kind, LARGEST_WEBP if kind == "WEBP" else LARGEST) for kind in PREVIEW])
def test_the_limit_itself(kind: str, size: tuple[int, int]) -> None:
    assert size[0] * size[1] == PREVIEW[kind].max_pixels
    largest = saved(Image.new("L", size), kind, **({"method": 0, "lossless": True} if kind == "WEBP" else {}))
    assert check_preview(largest) == SUFFIXES[kind]
    wider = saved(Image.new("L", (size[0] + 1, size[1])), kind)
    with pytest.raises(UnreadableFile, match=rf"^The image has 4097 × {size[1]} pixels; .+ million\.$"):
        check_preview(wider)


@pytest.mark.skipif(os.name == "nt", reason="the program that leaves the mark is a shell script")
@pytest.mark.parametrize("suffix", [".png", ".preview.png", ".webp"])
def test_no_other_program_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path / 'ran'}\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    file = tmp_path / f"a{suffix}"
    file.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\nshowpage\n%%EOF\n")
    assert looked_at(str(file)).startswith("The image cannot be read.")
    assert not is_embedding_file(file)
    assert not (tmp_path / "ran").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.preview.png")
    assert thumbnails.portrait(tmp_path / "a.preview.png") == ""


def test_pictures_of_telephones() -> None:
    """Of 12 million pixels, with Exif, a second picture of its own Exif behind the first, and a film behind both."""
    photo = Image.new("RGB", (4032, 3024), "red")
    exif = Image.Exif()
    exif[0x010F] = "maker"
    data = saved(photo, "MPO", save_all=True, append_images=[photo.resize((400, 300))], exif=exif) + b"\xff\xda\xff\xd9" * 100
    assert check_preview(data) == ".jpg"


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_colours_of_a_jpeg_are_those_that_pillow_reads(mode: str, progressive: bool) -> None:
    data = saved(noise(mode, (40, 30)), "JPEG", progressive=progressive, comment=b"a comment", icc_profile=b"profile" * 20_000)
    image = decode_preview(data)
    with Image.open(io.BytesIO(data)) as whole:
        assert image.mode == whole.mode == mode
        assert image.tobytes() == whole.tobytes()


@pytest.mark.parametrize(
    ("kind", "options"), [("GIF", {"comment": b"a comment", "loop": 0}), ("PNG", {}), ("WEBP", {"lossless": True})]
)
def test_the_first_picture_of_an_animation(kind: str, options: dict[str, Any]) -> None:
    frames = [noise("RGB", (40, 30)).quantize(16).convert("RGB") for _ in range(3)]
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert decode_preview(data).convert("RGB").tobytes() == frames[0].tobytes()


@pytest.mark.parametrize("kind", PREVIEW)
def test_every_cut_is_refused_in_the_same_words(kind: str) -> None:
    data = saved(noise("RGB", (16, 16)), kind)
    for length in range(0, len(data) - 40, 7):
        with pytest.raises(UnreadableFile, match=r"^The image cannot be read\. Use"):
            check_preview(data[:length])


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "sword.png"
    file.write_bytes(saved(Image.new("L", (8, 8)), "PNG"))
    assert read_preview(file) == file.read_bytes()
    monkeypatch.setattr(untrusted_images, "PREVIEW_BYTES", 10)
    with pytest.raises(UnreadableFile, match="larger"):
        read_preview(file)
