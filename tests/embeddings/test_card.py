"""Share cards: a picture with a caption that the WebUI loads as an embedding, and on which nothing shows that it is one."""

from __future__ import annotations

import base64
import io
import json
import zlib
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from train_embedding.embeddings.card import LONGEST, SHORTEST, Caption, draw_card, draw_vectors
from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.fonts import ROBOTO, font_for
from train_embedding.embeddings.formats import encode, encode_card, read_bytes
from train_embedding.embeddings.formats.containers import png_text
from train_embedding.errors import InvalidInput
from train_embedding.images.png import strip_png


def an_embedding(count: int = 2, width: int = 768) -> Embedding:
    vectors = torch.randn(count, width, generator=torch.Generator().manual_seed(1)) * 0.02
    return Embedding("my-cat", {"clip_l": vectors}, 240, "v1-5", "cc6cb27103")


def a_picture(width: int = 512, height: int = 512) -> Image.Image:
    """Soft colours from light to dark, in which any other pixel would stand out."""
    ramps = [Image.linear_gradient("L").rotate(angle).resize((width, height)) for angle in (0, 90, 180)]
    return Image.merge("RGB", ramps)


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def read_as_the_webui(image: Image.Image) -> dict[str, Any]:
    """Read the pixels by the rules of WebUI 1.10.1 (modules/textual_inversion/image_embedding.py), number by number."""
    colours = np.asarray(image)
    seen = (colours > 0).all(2)
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    low_bits = colours[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] & 15
    gaps = np.flatnonzero(low_bits.sum(axis=(0, 2)) == 0)
    lower, upper = low_bits[:, : gaps.min()].flatten(), low_bits[:, gaps.max() + 1 :].flatten()
    state, mask = 0, np.empty(len(lower), np.uint8)
    for index in range(len(lower)):
        state = (1664525 * state + 1013904223) % 2**32
        mask[index] = state % 255 & 15
    return json.loads(zlib.decompressobj().decompress(((upper ^ mask) << 4 | (lower ^ mask)).tobytes()))


@pytest.mark.parametrize("count", [1, 2, 16])
def test_the_webui_reads_the_same_from_text_and_pixels(count: int) -> None:
    embedding = an_embedding(count)
    data = encode_card(embedding, a_picture())
    text = png_text.embedding_text(io.BytesIO(data))
    assert text is not None
    for values in (json.loads(base64.b64decode(text)), read_as_the_webui(opened(data))):
        assert torch.equal(torch.tensor(values["string_to_param"]["*"]["TORCHTENSOR"]), embedding.vectors["clip_l"])
        assert (values["name"], values["step"], values["sd_checkpoint_name"]) == ("my-cat", 240, "v1-5")


def test_we_read_it_with_and_without_its_text() -> None:
    embedding = an_embedding()
    data = encode_card(embedding, a_picture())
    for held in (data, strip_png(data)):
        read = read_bytes(held, "my-cat.png")
        assert torch.equal(read.vectors["clip_l"], embedding.vectors["clip_l"])
        assert (read.step, read.checkpoint_name, read.checkpoint_hash) == (240, "v1-5", "cc6cb27103")


def test_nobody_sees_the_values_in_the_picture() -> None:
    embedding = an_embedding(16)
    card = opened(encode_card(embedding, a_picture()))
    plain = draw_card(a_picture(), Caption("<my-cat>", "v1-5", "[cc6cb27103]", "16v 240s"))
    assert card.size == plain.size == (512, 512)
    difference = np.abs(np.asarray(card).astype(int) - np.asarray(plain).astype(int))
    assert 0 < difference.max() <= 15
    assert difference.mean() < 3


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((64, 64), (512, 512)),
        ((768, 1024), (768, 1024)),
        ((3000, 2000), (1024, 683)),
        ((100, 4000), (512, 1024)),
    ],
)
def test_the_size_of_a_card(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert draw_card(a_picture(*size), Caption("<my-cat>")).size == expected


def test_a_card_grows_with_the_embedding_until_the_values_are_at_its_edges_only() -> None:
    few, many = (opened(encode_card(an_embedding(count), a_picture())) for count in (1, 75))
    assert few.size == (SHORTEST, SHORTEST)
    assert LONGEST < many.width < 1.1 * LONGEST


def test_the_texts_are_where_the_webui_writes_them() -> None:
    blank = Image.new("RGB", (512, 512), (120, 60, 30))
    without = np.asarray(draw_card(blank, Caption(""))).astype(int)
    for caption, rows, columns in (
        (Caption("<my-cat>"), slice(0, 100), slice(0, 400)),
        (Caption("", left="v1-5"), slice(450, 512), slice(0, 170)),
        (Caption("", middle="[cc6cb27103]"), slice(450, 512), slice(170, 342)),
        (Caption("", right="2v 240s"), slice(450, 512), slice(342, 512)),
    ):
        changed = np.abs(np.asarray(draw_card(blank, caption)).astype(int) - without).max(2) > 60
        assert changed[rows, columns].sum() > 50
        assert changed.sum() == changed[rows, columns].sum()


def test_a_long_name_stays_on_the_card() -> None:
    blank = Image.new("RGB", (512, 512), (120, 60, 30))
    changed = np.asarray(draw_card(blank, Caption(f"<{'very-' * 20}long>"))).astype(int) - np.asarray(
        draw_card(blank, Caption(""))
    )
    assert (np.abs(changed).max(2) > 60)[:, 500:].sum() == 0


def test_without_a_picture_it_is_a_gradient_of_its_own() -> None:
    first, again, other = (
        np.asarray(draw_vectors(vectors)).astype(int) for vectors in (*(torch.eye(4, 96),) * 2, torch.rand(4, 96))
    )
    assert (first == again).all()
    assert np.abs(first - other).mean() > 5
    assert max(np.abs(np.diff(first, axis=axis)).max() for axis in (0, 1)) <= 8, "it is soft"


def test_every_image_format_is_a_card() -> None:
    for form, suffix in (("png", ".png"), ("image", ".png"), ("image", ".webp")):
        image = opened(encode(an_embedding(), form, suffix))
        assert image.size == (512, 512)


def test_an_embedding_for_two_text_encoders_has_no_card() -> None:
    pair = Embedding("my-cat", {"clip_l": torch.ones(1, 768), "clip_g": torch.ones(1, 1280)})
    with pytest.raises(InvalidInput, match="supports only one text encoder"):
        encode_card(pair, a_picture())


def test_letters_of_the_west_are_drawn_with_the_font_of_the_package() -> None:
    assert font_for("<Straße Ωμέγα Кот>", 20).path == str(ROBOTO)
