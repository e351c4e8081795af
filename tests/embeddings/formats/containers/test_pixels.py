"""Pictures whose pixels carry an embedding, and the many more that do not."""

from __future__ import annotations

import importlib.util
import io
import os
import zlib
from pathlib import Path

import pytest
import torch
from PIL import Image

from benchmarks.hostile_cases import cases
from tests.memory import MOST, PATIENCE, taken_by
from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.formats import encode, is_embedding_file, read_bytes, read_embedding
from train_embedding.embeddings.formats.containers import images, pixels
from train_embedding.errors import InvalidInput, UnreadableFile

HERE = Path(__file__).parent
VECTORS = torch.arange(1.0, 9.0).reshape(2, 4) / 3
Image.init()
JPEG_XL = pytest.mark.skipif(importlib.util.find_spec("pillow_jxl") is None, reason="needs pillow-jxl-plugin")
AVIF = pytest.mark.skipif("AVIF" not in Image.OPEN, reason="needs Pillow 11.3 or pillow-avif-plugin")


def sequence(count: int) -> list[int]:
    """The generator as it is defined, number by number."""
    state, numbers = 0, list[int]()
    for _ in range(count):
        state = (1664525 * state + 1013904223) % 2**32
        numbers.append(state % 255 & 15)
    return numbers


@pytest.mark.parametrize("count", [1, 2, 100, 2**16, 2**16 + 1, 200_000])
def test_the_sequence(count: int) -> None:
    assert pixels._sequence(count).tolist() == sequence(count)  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(
    "file",
    [
        "of the webui.png",
        "of the webui.webp",
        pytest.param("lossless.avif", marks=AVIF),
        pytest.param("lossless.jxl", marks=JPEG_XL),
    ],
)
def test_read(file: str) -> None:
    """The first two were drawn by the WebUI's own code (`insert_image_data_embed` in 1.10.1)."""
    read = read_embedding(HERE / "images" / file)
    assert torch.equal(read.vectors["clip_l"], VECTORS)
    assert (read.format, read.step, read.checkpoint_name, read.metadata["name"]) == ("image", 7, "v1-5", "inside")
    assert is_embedding_file(HERE / "images" / file)


@pytest.mark.parametrize("suffix", [".png", ".webp"])
@pytest.mark.parametrize("border", [0, 9])
def test_a_black_border_does_not_matter(border: int, suffix: str) -> None:
    with Image.open(io.BytesIO(encode(Embedding("sword", {"clip_l": VECTORS}), "image", suffix))) as drawn:
        framed = Image.new("RGB", (drawn.width + 2 * border, drawn.height + 2 * border))
        framed.paste(drawn, (border, border))
    saved = io.BytesIO()
    framed.save(saved, suffix[1:].upper(), lossless=True)
    assert torch.equal(read_bytes(saved.getvalue(), f"sword{suffix}").vectors["clip_l"], VECTORS)


def test_transparent_and_palette_pictures_are_looked_at_too() -> None:
    data = encode(Embedding("sword", {"clip_l": VECTORS}), "image", ".png")
    with Image.open(io.BytesIO(data)) as drawn:
        saved = io.BytesIO()
        drawn.convert("RGBA").save(saved, "PNG")
    assert torch.equal(read_bytes(saved.getvalue(), "sword.png").vectors["clip_l"], VECTORS)


def ordinary(mode: str, size: tuple[int, int] = (96, 64)) -> Image.Image:
    return Image.effect_noise(size, 60).convert(mode)


PICTURES = {
    "noise.png": ordinary("RGB"),
    "grey.png": ordinary("L"),
    "palette.png": ordinary("P"),
    "transparent.png": ordinary("RGBA"),
    "black.png": Image.new("RGB", (64, 64)),
    "white.png": Image.new("RGB", (64, 64), "white"),
    "one pixel.png": Image.new("RGB", (1, 1), "red"),
    "striped.png": Image.merge("RGB", [Image.linear_gradient("L").resize((64, 64)).point([v & 0xF0 for v in range(256)])] * 3),
    "lossless.webp": ordinary("RGB"),
    "lossy.webp": ordinary("RGB"),
}


@pytest.mark.parametrize("name", PICTURES)
def test_an_ordinary_picture_is_no_embedding_file(tmp_path: Path, name: str) -> None:
    PICTURES[name].save(tmp_path / name, lossless=name != "lossy.webp")
    assert not is_embedding_file(tmp_path / name)
    with pytest.raises(UnreadableFile, match="is an image without an embedding"):
        read_embedding(tmp_path / name)


def test_a_large_picture_is_not_decoded_for_a_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ordinary("RGB", (600, 500)).save(tmp_path / "large.png")

    def fail(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(images, "pixels", fail)
    assert not is_embedding_file(tmp_path / "large.png")


def listed_and_read(path: str) -> str:
    assert not is_embedding_file(Path(path))
    with pytest.raises(UnreadableFile) as caught:
        read_embedding(Path(path))
    return caught.value.message


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("shape", ["6,000,000 × 1", "1 × 6,000,000", "16,384 × 380", "pixels in 4,700 pieces", "interlaced"])
def test_within_the_limits(tmp_path: Path, shape: str) -> None:
    (case,) = (case for case in cases() if case.name.startswith("PNG, ") and shape in case.name)
    path = tmp_path / "wide.png"
    path.write_bytes(case.make(""))
    taken = taken_by(listed_and_read, path)
    if "6,000,000" in shape:
        width, height = (side.replace(",", "") for side in shape.split(" × "))
        said = f"is an image of {width} × {height} pixels; at most 16,384 per side are allowed."
    else:
        said = images.NO_EMBEDDING
    assert taken.answer == f'"wide.png" {said}'
    assert taken.memory < MOST
    assert taken.seconds < PATIENCE


@pytest.mark.parametrize("mode", ["L", "LA", "P"])
def test_greys_and_palettes_are_not_decoded(tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ordinary("RGB").convert(mode).save(tmp_path / "a.png")
    monkeypatch.setattr(images, "_decode_cropped", None)
    assert not is_embedding_file(tmp_path / "a.png")
    with pytest.raises(UnreadableFile, match="is an image without an embedding"):
        read_embedding(tmp_path / "a.png")


def test_a_picture_is_looked_at_again_when_it_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "sword.png"
    ordinary("RGB").save(path)
    assert not is_embedding_file(path)
    path.write_bytes(encode(Embedding("sword", {"clip_l": VECTORS}), "image", ".png"))
    assert is_embedding_file(path)
    assert not is_embedding_file(path.rename(tmp_path / "sword.preview.png"))


def test_what_it_carries_must_be_an_embedding() -> None:
    blank = torch.full((64, 64, 3), 0x81, dtype=torch.uint8)
    for text, reason in (
        (b"[]", "not an object"),
        (b"{}", "contains 0 tensors"),
        (b'{"a": 1}', "contains 0 tensors"),
    ):
        data = images.encode(pixels.within(blank, zlib.compress(text)), ".png")
        with pytest.raises(UnreadableFile, match=reason):
            read_bytes(data, "sword.png")


@pytest.mark.skipif(importlib.util.find_spec("pillow_jxl") is not None, reason="there is such a plugin")
def test_a_kind_of_picture_that_pillow_does_not_know() -> None:
    with pytest.raises(InvalidInput, match=r'"\.jxl" images cannot be written here'):
        encode(Embedding("sword", {"clip_l": VECTORS}), "image", ".jxl")
    with pytest.raises(UnreadableFile, match="needs the package pillow-jxl-plugin"):
        read_embedding(HERE / "images" / "lossless.jxl")
