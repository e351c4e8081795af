"""Images decoded in a process of their own: the same pixels, and limits that end that process alone."""

from __future__ import annotations

import array
import io
import os
import threading
from typing import Any

import pytest
from PIL import Image

from train_embedding.images import decoder
from train_embedding.images.decoder import check_image, decode_image
from train_embedding.images.errors import NotDecoded, TooCostly, TooManyPixels
from train_embedding.images.limits import Limits
from train_embedding.images.webp import size_of

PLENTY = Limits(10**6)
POSIX = pytest.mark.skipif(os.name == "nt", reason="needs a system that limits processes")


def noise(mode: str, size: tuple[int, int] = (40, 30)) -> Image.Image:
    return Image.frombytes(mode, size, os.urandom(size[0] * size[1] * len(Image.new(mode, (1, 1)).getbands())))


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


@pytest.mark.parametrize(
    ("kind", "mode"),
    [("PNG", "L"), ("PNG", "LA"), ("PNG", "RGB"), ("PNG", "RGBA"), ("JPEG", "CMYK"), ("TIFF", "RGB"), ("WEBP", "RGBA")],
)
def test_the_same_pixels(kind: str, mode: str) -> None:
    data = saved(noise(mode), kind)
    image = decode_image(data, kind, PLENTY)
    with Image.open(io.BytesIO(data)) as here:
        assert (image.mode, image.size, image.tobytes()) == (here.mode, here.size, here.tobytes())
    assert check_image(data, kind, PLENTY) == (40, 30)


def test_palettes_and_bits_become_colours() -> None:
    data = saved(noise("RGB").quantize(8), "PNG")
    with Image.open(io.BytesIO(data)) as here:
        assert decode_image(data, "PNG", PLENTY).tobytes() == here.convert("RGB").tobytes()


@pytest.mark.parametrize(("meaning", "expected"), [(1, [0, 128, 255]), (0, [255, 127, 0])])
def test_16_bits_become_8(meaning: int, expected: list[int]) -> None:
    values = array.array("H", [0, 128 * 257, 65_535])
    data = saved(Image.frombytes("I;16", (3, 1), values.tobytes()), "TIFF", tiffinfo={262: meaning})
    assert list(decode_image(data, "TIFF", PLENTY, mode="L").tobytes()) == expected
    assert decode_image(data, "TIFF", PLENTY, side=1).size == (1, 1)


def test_a_mode_and_a_side() -> None:
    image = decode_image(saved(noise("RGBA"), "PNG"), "PNG", PLENTY, mode="RGB", side=10)
    assert (image.mode, image.size) == ("RGB", (10, 8))


def test_exif_comes_along() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode_image(saved(noise("RGB"), "WEBP", exif=exif), "WEBP", PLENTY).getexif()[0x0112] == 6


def test_many_in_one_process() -> None:
    data = saved(noise("RGB"), "PNG")
    decode_image(data, "PNG", PLENTY)
    first = decoder._shared.decoder  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(NotDecoded):
        decode_image(data[:100], "PNG", PLENTY)
    decode_image(data, "PNG", PLENTY)
    assert decoder._shared.decoder is first  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF"])
def test_too_many_pixels(kind: str) -> None:
    with pytest.raises(TooManyPixels) as caught:
        decode_image(saved(noise("RGB"), kind), kind, Limits(1199))
    assert caught.value.size == (40, 30)


@POSIX
@pytest.mark.parametrize(("limits", "said"), [(Limits(10**8, seconds=0.02), "too long"), (Limits(10**8, memory=2**20), "memory")])
def test_a_limit_ends_the_process_alone(limits: Limits, said: str) -> None:
    large = saved(Image.new("RGB", (6000, 5000)), "PNG")
    with pytest.raises(TooCostly, match=said):
        decode_image(large, "PNG", limits)
    assert check_image(large, "PNG", Limits(10**8)) == (6000, 5000)


def test_an_image_is_opened_as_nothing_else() -> None:
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n"
    with pytest.raises(NotDecoded, match="not an image of this kind"):
        decode_image(postscript, "BMP", PLENTY)
    with pytest.raises(NotDecoded):
        decode_image(postscript, "PNG", PLENTY)


def test_without_a_program_to_run_it(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder._close()  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(decoder.sys, "executable", "/nowhere/python")
    with pytest.raises(NotDecoded, match="could not be started"):
        decode_image(saved(noise("RGB"), "PNG"), "PNG", PLENTY)


@POSIX
def test_one_that_has_waited_too_long_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    import signal

    data = saved(noise("RGB"), "PNG")
    decode_image(data, "PNG", PLENTY)
    process = decoder._shared.decoder._process  # type: ignore[union-attr]  # pyright: ignore
    process.send_signal(signal.SIGALRM)
    process.wait()
    assert decode_image(data, "PNG", PLENTY).size == (40, 30)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_process_that_was_forked_has_its_own() -> None:
    data = saved(noise("RGB"), "PNG")
    decode_image(data, "PNG", PLENTY)
    child = os.fork()
    if child == 0:
        os._exit(0 if decode_image(data, "PNG", PLENTY).size == (40, 30) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert decode_image(data, "PNG", PLENTY).size == (40, 30)


def test_from_several_threads() -> None:
    images = [noise("RGB") for _ in range(8)]
    same = list[bool]()

    def decode(image: Image.Image) -> None:
        same.append(decode_image(saved(image, "PNG"), "PNG", PLENTY).tobytes() == image.tobytes())

    threads = [threading.Thread(target=decode, args=(image,)) for image in images]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert same == [True] * 8


@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 50}, {"quality": 50, "exif": b"Exif\0\0"}])
@pytest.mark.parametrize("size", [(1, 1), (300, 2), (16_383, 1)])
def test_what_a_webp_file_says_of_its_size(size: tuple[int, int], options: dict[str, Any]) -> None:
    data = saved(Image.new("RGB", size), "WEBP", **options)
    assert size_of(data) == size
    assert size_of(data[:29]) == (0, 0)
