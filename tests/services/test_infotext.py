"""Infotexts of images that were drawn here."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from train_embedding.hosts.base import Txt2ImgRequest
from train_embedding.services.infotext import infotext, with_infotext


def png() -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(data, "PNG")
    return data.getvalue()


def test_it_is_what_the_webui_writes() -> None:
    request = Txt2ImgRequest("a my-cat", "blurry", 30, 6.5, 7, 512, 768)
    assert infotext(request, "v1-5", "cc6cb27103") == (
        "a my-cat\nNegative prompt: blurry\n"
        "Steps: 30, Sampler: Euler, CFG scale: 6.5, Seed: 7, Size: 512x768, Model hash: cc6cb27103, Model: v1-5"
    )
    assert infotext(Txt2ImgRequest("a my-cat")) == "a my-cat\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 512x512"


@pytest.mark.parametrize("text", ["a cat\nSteps: 1", "eine Straße", "水墨, a cat"])
def test_programs_read_it_from_the_file(text: str) -> None:
    told = with_infotext(png(), text)
    with Image.open(io.BytesIO(told)) as image:
        assert image.info["parameters"] == text
        assert image.getpixel((0, 0)) == (255, 0, 0)
    assert with_infotext(told, "another") == told, "the first stays"
