"""The text chunk of a PNG file, in each of the three kinds of text that PNG has, wherever it stands."""

from __future__ import annotations

import base64
import io
import json
import zlib

import pytest
import torch
from PIL import Image, PngImagePlugin

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.formats import encode, read_bytes
from train_embedding.embeddings.formats.containers.png_text import KEYWORD
from train_embedding.images.png import SIGNATURE, NotPNG, crop_top, iterate_chunks, make_chunk

VECTORS = torch.arange(8.0).reshape(2, 4)
TEXT = base64.b64encode(json.dumps({"string_to_param": {"*": {"TORCHTENSOR": VECTORS.tolist()}}, "name": "inside"}).encode())


def picture(*added: tuple[str, str, bool], size: tuple[int, int] = (64, 48), mode: str = "RGB") -> bytes:
    info = PngImagePlugin.PngInfo()
    for key, text, packed in added:
        info.add_text(key, text, zip=packed)
    made = io.BytesIO()
    Image.effect_noise(size, 50).convert(mode).save(made, "PNG", pnginfo=info)
    return made.getvalue()


def at_the_end(*parts: bytes) -> bytes:
    data = picture()
    return data[:-12] + b"".join(parts) + data[-12:]


@pytest.mark.parametrize(
    "data",
    [
        picture(("sd-ti-embedding", TEXT.decode(), False)),
        picture(("sd-ti-embedding", TEXT.decode(), True)),
        picture(("parameters", "a cat", False), ("sd-ti-embedding", TEXT.decode(), False)),
        at_the_end(make_chunk(b"tEXt", KEYWORD + b"\0" + TEXT)),
        at_the_end(make_chunk(b"zTXt", KEYWORD + b"\0\0" + zlib.compress(TEXT))),
        at_the_end(make_chunk(b"iTXt", KEYWORD + b"\0\0\0\0\0" + TEXT)),
        at_the_end(make_chunk(b"iTXt", KEYWORD + b"\0\1\0en\0name\0" + zlib.compress(TEXT))),
    ],
    ids=["tEXt", "zTXt", "second", "after the pixels", "zTXt after", "iTXt", "packed iTXt"],
)
def test_read(data: bytes) -> None:
    read = read_bytes(data, "sword.png")
    assert torch.equal(read.vectors["clip_l"], VECTORS)
    assert (read.format, read.metadata) == ("png", {"name": "inside"})


def test_pillow_reads_what_is_written() -> None:
    data = encode(Embedding("sword", {"clip_l": VECTORS}), "png", ".png")
    with Image.open(io.BytesIO(data)) as opened:
        assert isinstance(opened, PngImagePlugin.PngImageFile)
        held = json.loads(base64.b64decode(str(opened.text["sd-ti-embedding"])))
        assert opened.size == (512, 512)
        opened.load()
    assert held["string_to_param"]["*"]["TORCHTENSOR"] == VECTORS.tolist()


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_the_first_rows_alone(mode: str) -> None:
    data = picture(mode=mode)
    alone = crop_top(io.BytesIO(data), 5)
    assert alone is not None
    with Image.open(io.BytesIO(alone)) as few, Image.open(io.BytesIO(data)) as whole:
        assert few.size == (64, 5)
        assert few.tobytes() == whole.crop((0, 0, 64, 5)).tobytes()


def test_no_first_rows_of_other_kinds() -> None:
    assert crop_top(io.BytesIO(picture(mode="L")), 5) is None
    with pytest.raises(NotPNG, match="cut short"):
        crop_top(io.BytesIO(picture()[:200]), 40)


def test_chunks_that_go_past_the_end() -> None:
    with pytest.raises(NotPNG, match="cut short"):
        list(iterate_chunks(io.BytesIO(SIGNATURE + b"\x7f\xff\xff\xfftEXt")))
