"""One picture file: turned, framed and made opaque, its mask beside it, and what is said of files that are none."""

from __future__ import annotations

import io
import os
import shutil
import stat
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.memory import taken_by
from train_embedding.engine.data import image
from train_embedding.engine.data.image import measure_image, read_pixels, verify_image
from train_embedding.errors import UnreadableFile

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def halves(size: tuple[int, int] = (64, 64), left: tuple[int, ...] = RED, right: tuple[int, ...] = BLUE) -> Image.Image:
    picture = Image.new("RGBA" if len(left) == 4 else "RGB", size, left)
    picture.paste(right, (size[0] // 2, 0, *size))
    return picture


def colours(pixels: torch.Tensor) -> dict[str, tuple[int, ...]]:
    """Colours of the middle of each edge, 0…255."""
    _, height, width = pixels.shape
    places = {
        "left": (height // 2, 1),
        "right": (height // 2, width - 2),
        "top": (1, width // 2),
        "bottom": (height - 2, width // 2),
    }
    return {name: tuple(round((float(value) + 1) * 127.5) for value in pixels[:, y, x]) for name, (y, x) in places.items()}


def saved(picture: Image.Image, file: Path, **options: object) -> Path:
    picture.save(file, **options)  # pyright: ignore[reportArgumentType]
    return file


def read(file: Path, width: int, height: int) -> torch.Tensor:
    return read_pixels(file, (width, height)).colour


def mask_of(file: Path, size: tuple[int, int], resize_mode: str = "crop", mask: str = "alpha") -> torch.Tensor:
    found = read_pixels(file, size, resize_mode, mask).mask
    assert found is not None
    return found


def test_pixels(tmp_path: Path) -> None:
    pixels = read(saved(halves(), tmp_path / "a.png"), 64, 64)
    assert (pixels.shape, pixels.dtype) == ((3, 64, 64), torch.float32)
    assert (float(pixels.min()), float(pixels.max())) == (-1.0, 1.0)
    assert colours(pixels)["left"] == RED
    assert colours(pixels)["right"] == BLUE


def test_width_and_height_in_that_order(tmp_path: Path) -> None:
    assert read(saved(halves(), tmp_path / "a.png"), 32, 16).shape == (3, 16, 32)


@pytest.mark.parametrize(("orientation", "where"), [(1, "left"), (2, "right"), (3, "right"), (6, "top"), (8, "bottom")])
def test_exif_orientation(tmp_path: Path, orientation: int, where: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = read(saved(halves(), tmp_path / "a.png", exif=exif), 64, 64)
    assert colours(pixels)[where] == RED


def test_cropped_around_the_centre_and_not_squashed(tmp_path: Path) -> None:
    picture = Image.new("RGB", (192, 64), GREEN)
    picture.paste(RED, (64, 0, 128, 64))
    pixels = read(saved(picture, tmp_path / "a.png"), 32, 32)
    assert set(colours(pixels).values()) == {RED}


def test_small_pictures_are_enlarged(tmp_path: Path) -> None:
    pixels = read(saved(halves((8, 8)), tmp_path / "a.png"), 64, 64)
    assert colours(pixels)["left"] == RED


def test_transparent_parts_are_white(tmp_path: Path) -> None:
    picture = halves(left=(255, 0, 0, 255), right=(0, 0, 255, 0))
    pixels = read(saved(picture, tmp_path / "a.png"), 64, 64)
    assert (colours(pixels)["left"], colours(pixels)["right"]) == (RED, (255, 255, 255))


def test_a_transparent_palette_colour_is_white(tmp_path: Path) -> None:
    picture = halves().quantize(2)
    transparent = picture.getpixel((63, 0))
    pixels = read(saved(picture, tmp_path / "a.gif", transparency=transparent), 64, 64)
    assert (colours(pixels)["left"], colours(pixels)["right"]) == (RED, (255, 255, 255))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    suffix = ".tif" if mode == "CMYK" else ".png"
    pixels = read(saved(halves(left=(255, 255, 255), right=(0, 0, 0)).convert(mode), tmp_path / f"a{suffix}"), 64, 64)
    assert (colours(pixels)["left"], colours(pixels)["right"]) == ((255, 255, 255), (0, 0, 0))


def test_16_bits_are_scaled_and_not_clipped(tmp_path: Path) -> None:
    values = np.zeros((64, 64), dtype=np.uint16)
    values[:, 32:] = 128 * 257
    file = saved(Image.fromarray(values), tmp_path / "a.png")
    pixels = read(file, 64, 64)
    assert (colours(pixels)["left"], colours(pixels)["right"]) == ((0, 0, 0), (128, 128, 128))


@pytest.mark.parametrize(
    ("size", "orientation", "expected"), [((30, 20), 1, (30, 20)), ((30, 20), 6, (20, 30)), ((30, 20), 3, (30, 20))]
)
def test_measured_as_a_viewer_shows_it(
    tmp_path: Path, size: tuple[int, int], orientation: int, expected: tuple[int, int]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = saved(halves(size), tmp_path / "a.jpg", exif=exif)
    assert measure_image(file) == (expected, False)
    assert read_pixels(file, expected).colour.shape == (3, *expected[::-1])


@pytest.mark.parametrize(("mode", "alpha"), [("RGB", False), ("RGBA", True), ("L", False), ("LA", True), ("P", False)])
def test_what_can_be_transparent(tmp_path: Path, mode: str, alpha: bool) -> None:
    assert measure_image(saved(halves().convert(mode), tmp_path / "a.png")) == ((64, 64), alpha)


def test_a_transparent_colour_of_16_bits_does_not(tmp_path: Path) -> None:
    file = saved(Image.fromarray(np.full((64, 64), 128 * 257, dtype=np.uint16)), tmp_path / "a.png")
    data, chunk = file.read_bytes(), b"tRNS" + bytes(2)  # which Pillow 9 cannot write
    end = data.index(b"IDAT") - 4
    file.write_bytes(data[:end] + (2).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big") + data[end:])
    with Image.open(file) as opened:
        assert "transparency" in opened.info
    assert measure_image(file) == ((64, 64), False)
    pixels = read_pixels(file, (64, 64), mask="alpha")
    assert (pixels.mask, colours(pixels.colour)["left"]) == (None, (128, 128, 128))


def test_a_transparent_colour_counts_as_alpha(tmp_path: Path) -> None:
    assert measure_image(saved(halves().quantize(2), tmp_path / "a.gif", transparency=0))[1]


def test_resized_and_not_cropped(tmp_path: Path) -> None:
    picture = Image.new("RGB", (192, 64), GREEN)
    picture.paste(RED, (0, 0, 48, 64))
    pixels = read_pixels(saved(picture, tmp_path / "a.png"), (64, 64), "resize").colour
    assert (colours(pixels)["left"], colours(pixels)["right"]) == (RED, GREEN)
    assert colours(read_pixels(tmp_path / "a.png", (64, 64), "crop").colour)["left"] == GREEN


def test_alpha_as_a_mask(tmp_path: Path) -> None:
    file = saved(halves((96, 64), left=(*RED, 255), right=(*BLUE, 51)), tmp_path / "a.png")
    mask = mask_of(file, (96, 64))
    assert mask.shape == (64, 96)
    assert mask[:, :40].unique().tolist() == [1.0]
    assert mask[:, 56:].unique().tolist() == pytest.approx([0.2])
    assert read_pixels(file, (96, 64)).mask is None


def test_a_picture_without_alpha_has_no_alpha_mask(tmp_path: Path) -> None:
    assert read_pixels(saved(halves(), tmp_path / "a.png"), (64, 64), mask="alpha").mask is None


@pytest.mark.parametrize(("alpha", "value"), [(255, 1.0), (0, 0.0)])
def test_opaque_and_transparent_masks(tmp_path: Path, alpha: int, value: float) -> None:
    file = saved(halves(left=(*RED, alpha), right=(*BLUE, alpha)), tmp_path / "a.png")
    assert mask_of(file, (64, 64)).unique().tolist() == [value]


def test_a_mask_is_framed_and_turned_like_its_picture(tmp_path: Path) -> None:
    """What is left of the picture's middle is transparent, seen as a viewer shows it; half of that is cut off."""
    exif = Image.Exif()
    exif[0x0112] = 6  # stored on its side
    upright = halves((128, 64), left=(*RED, 0), right=(*BLUE, 255))
    file = saved(upright.transpose(Image.Transpose.ROTATE_90), tmp_path / "a.png", exif=exif)
    whole, cut = mask_of(file, (128, 64)), mask_of(file, (64, 64))
    assert (whole[:, :60].max(), whole[:, 68:].min()) == (0, 1)
    assert (cut[:, :28].max(), cut[:, 36:].min()) == (0, 1)
    assert (mask_of(file, (64, 64), "resize")[:, :28].max(), mask_of(file, (64, 64), "resize")[:, 36:].min()) == (0, 1)


def test_a_mask_file_of_another_size(tmp_path: Path) -> None:
    file = saved(halves((192, 128)), tmp_path / "a.jpg")
    shown = Image.new("L", (96, 64))
    shown.paste(255, (0, 0, 96, 32))
    saved(shown, tmp_path / "a-masklabel.png")
    mask = mask_of(file, (96, 64), mask="file")
    assert mask.shape == (64, 96)
    assert (mask[:28].min(), mask[36:].max()) == (1, 0)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_mask_files_of_every_mode(tmp_path: Path, mode: str) -> None:
    file = saved(halves(), tmp_path / "a.png")
    saved(halves(left=(255, 255, 255), right=(0, 0, 0)).convert(mode), tmp_path / "a-masklabel.png")
    mask = mask_of(file, (64, 64), mask="file")
    assert (mask[:, :28].min(), mask[:, 36:].max()) == (1, 0)


def test_what_is_transparent_in_a_mask_file_does_not_count(tmp_path: Path) -> None:
    file = saved(halves(), tmp_path / "a.png")
    saved(halves(left=(255, 255, 255, 255), right=(255, 255, 255, 0)), tmp_path / "a-masklabel.png")
    mask = mask_of(file, (64, 64), mask="file")
    assert (mask[:, :28].min(), mask[:, 36:].max()) == (1, 0)


def test_mask_files_that_cannot_be_used(tmp_path: Path) -> None:
    file = saved(halves((192, 128)), tmp_path / "a.png")
    saved(Image.new("L", (64, 64)), tmp_path / "a-masklabel.png")
    with pytest.raises(UnreadableFile) as caught:
        read_pixels(file, (64, 64), mask="file")
    assert (
        caught.value.message
        == 'Its mask "a-masklabel.png" has a different aspect ratio: 64 × 64 pixels; the image has 192 × 128.'
    )
    (tmp_path / "a-masklabel.png").write_text("x")
    with pytest.raises(UnreadableFile, match=r'Its mask "a-masklabel\.png" cannot be used: It is not an image\.'):
        read_pixels(file, (64, 64), mask="file")


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    for look in (verify_image, measure_image, lambda file: read_pixels(file, (8, 8))):
        with pytest.raises(UnreadableFile, match=r"^It is no longer there\.$"):
            look(tmp_path / "gone.png")


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = saved(halves(), tmp_path / "a.png")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(UnreadableFile, match=r"^It cannot be read: Permission denied\.$"):
        measure_image(file)


def test_floating_point_pixels_are_named_and_not_guessed(tmp_path: Path) -> None:
    file = saved(Image.fromarray(np.full((64, 64), 0.5, np.float32)), tmp_path / "a.tif")
    with pytest.raises(UnreadableFile, match="floating-point"):
        read(file, 64, 64)


SUFFIXES = {
    ".png": "PNG", ".jpg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG", ".webp": "WEBP", ".gif": "GIF", ".bmp": "BMP", ".dib": "DIB",
    ".tif": "TIFF", ".tga": "TGA", ".ppm": "PPM", ".pgm": "PPM", ".pnm": "PPM", ".ico": "ICO",
    ".jp2": "JPEG2000", ".j2k": "JPEG2000",
}  # fmt: skip


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_kinds_of_files(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"a{suffix.upper()}"
    halves().save(file, SUFFIXES[suffix])
    verify_image(file)
    assert measure_image(file)[0] == (64, 64)
    found = colours(read(file, 64, 64))
    assert np.allclose([found["left"], found["right"]], [RED, BLUE], atol=4)


def test_of_an_icon_the_largest_image(tmp_path: Path) -> None:
    halves((128, 128)).save(tmp_path / "a.ico", sizes=[(16, 16), (128, 128), (32, 32)])
    assert measure_image(tmp_path / "a.ico")[0] == (128, 128)


@pytest.mark.parametrize(
    ("kind", "suffix"), [("JPEG", ".png"), ("WEBP", ".jpg"), ("PNG", ".webp"), ("GIF", ".tga"), ("BMP", ".ico")]
)
def test_an_ordinary_image_under_another_suffix(tmp_path: Path, kind: str, suffix: str) -> None:
    file = tmp_path / f"a{suffix}"
    halves().convert("RGB").save(file, kind)
    assert measure_image(file)[0] == (64, 64)
    assert np.allclose(colours(read(file, 64, 64))["left"], RED, atol=4)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\nshowpage\n%%EOF\n"
WMF = b"\xd7\xcd\xc6\x9a\0\0\0\0\0\0\x40\0\x40\0\x60\0" + bytes(6) + b"\1\0\t\0" + bytes(64)


@pytest.mark.skipif(os.name == "nt", reason="the program that leaves the mark is a shell script")
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tga", ".dib", ".tif", ".ico"])
@pytest.mark.parametrize("data", [EPS, WMF, b"\xc5\xd0\xd3\xc6" + struct.pack("<II", 30, len(EPS)) + bytes(18) + EPS])
def test_no_other_program_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, suffix: str) -> None:
    ghostscript, mark = tmp_path / "gs", tmp_path / "ran"
    ghostscript.write_text(f"#!/bin/sh\ntouch {mark}\n")
    ghostscript.chmod(ghostscript.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert shutil.which("gs") == str(ghostscript)
    file = tmp_path / f"a{suffix}"
    file.write_bytes(data)
    saved(halves(), tmp_path / "b.png")
    (tmp_path / "b-masklabel.png").write_bytes(data)
    for look in (verify_image, measure_image, lambda file: read_pixels(file, (8, 8))):
        with pytest.raises(UnreadableFile):
            look(file)
    with pytest.raises(UnreadableFile, match="cannot be used"):
        read_pixels(tmp_path / "b.png", (8, 8), mask="file")
    assert not mark.exists()


def tiff(values: np.ndarray, bits: int, *, channels: int = 1, meaning: int = 1, numbers: int = 1) -> bytes:
    """A TIFF file of whole numbers, uncompressed. meaning: 0 where 0 is white, 1 where it is black, 2 for RGB."""
    height, width = values.shape[0], values.shape[1] // channels
    if bits == 12:
        texts = ["".join(f"{value:012b}" for value in row) for row in values.tolist()]
        pixels = b"".join(int(text, 2).to_bytes(len(text) // 8, "big") for text in texts)
    else:
        pixels = values.astype(f"<u{bits // 8}").tobytes()
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, meaning), (273, 0), (277, channels), (278, height)]
    tags += [(279, len(pixels)), (339, numbers)]
    end = 8 + 2 + 12 * len(tags) + 4
    longer = struct.pack("<HHH", *[bits] * 3) if channels == 3 else b""
    entries = b""
    for tag, value in tags:
        told = end + len(longer) if tag == 273 else end if tag == 258 and longer else value
        entries += struct.pack("<HHII", tag, 3 if tag in (258, 339) else 4, channels if tag == 258 else 1, told)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + longer + pixels


@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("meaning", [0, 1])
def test_tiff_files_of_12_and_16_bits(tmp_path: Path, bits: int, meaning: int) -> None:
    values = np.zeros((64, 64), np.int64)
    values[:, 32:] = 2**bits - 1
    (tmp_path / "a.tif").write_bytes(tiff(values, bits, meaning=meaning))
    if bits == 12 and meaning == 0:  # which Pillow does not know
        with pytest.raises(UnreadableFile, match=r"12 bits per channel\. Save it with 8 or 16 bits"):
            measure_image(tmp_path / "a.tif")
        return
    found = colours(read(tmp_path / "a.tif", 64, 64))
    dark, bright = ((0, 0, 0), (255, 255, 255)) if meaning else ((255, 255, 255), (0, 0, 0))
    assert (found["left"], found["right"]) == (dark, bright)


def test_tiff_files_that_pillow_does_not_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(tiff(np.full((8, 24), 4095), 12, channels=3, meaning=2))
    with pytest.raises(
        UnreadableFile, match=r"^Pillow cannot read TIFF files with 12 bits per channel\. Save it with 8 or 16 bits"
    ):
        verify_image(tmp_path / "a.tif")
    for bits, numbers in ((32, 1), (16, 2)):
        (tmp_path / "a.tif").write_bytes(tiff(np.full((8, 8), 77), bits, numbers=numbers))
        with pytest.raises(UnreadableFile, match=r"^Its pixels are signed numbers, or have 32 bits\."):
            verify_image(tmp_path / "a.tif")


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_tiff_file_is_turned_once(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = saved(halves((96, 64)).convert("RGB"), tmp_path / "a.tif", exif=exif)
    size = (64, 96) if orientation in (6, 8) else (96, 64)
    assert measure_image(file)[0] == size
    where = {1: "left", 3: "right", 6: "top", 8: "bottom"}[orientation]
    assert colours(read(file, *size))[where] == RED
    saved(Image.new("L", size, 255), tmp_path / "a-masklabel.png")
    assert mask_of(file, size, mask="file").min() == 1


def test_a_mask_of_the_images_own_kind(tmp_path: Path) -> None:
    file = saved(halves(), tmp_path / "a.tga")
    saved(halves(left=(255, 255, 255), right=(0, 0, 0)), tmp_path / "a-masklabel.tga")
    mask = mask_of(file, (64, 64), mask="file")
    assert (mask[:, :28].min(), mask[:, 36:].max()) == (1, 0)


def test_what_was_saved_in_place_of_an_image_is_named(tmp_path: Path) -> None:
    for data, said in (
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "It is a Git LFS pointer instead of the file"),
        (b"<!DOCTYPE html><html></html>", "It is a web page"),
    ):
        (tmp_path / "a.png").write_bytes(data)
        with pytest.raises(UnreadableFile, match=f"^{said}"):
            verify_image(tmp_path / "a.png")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    for look in (verify_image, measure_image, lambda file: read_pixels(file, (8, 8))):
        with pytest.raises(UnreadableFile, match="not a regular file"):
            look(tmp_path / "a.png")


@pytest.mark.parametrize(
    "options",
    [
        {"lossless": True},
        {"quality": 80},
        {"lossless": True, "exif": b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"},
    ],
)
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_webp_decoded_apart_is_bit_identical(
    tmp_path: Path, mode: str, options: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = Image.frombytes(mode, (90, 60), os.urandom(90 * 60 * len(mode)))
    file = saved(noise, tmp_path / "a.webp", **options)
    found = list[image.Pixels]()
    for safe in (True, False):
        monkeypatch.setattr(image, "webp_is_safe", lambda safe=safe: safe)
        found.append(read_pixels(file, (60, 60), mask="alpha"))
    assert torch.equal(found[0].colour, found[1].colour)
    assert (found[0].mask is None) == (found[1].mask is None) == (mode == "RGB")
    if found[0].mask is not None and found[1].mask is not None:
        assert torch.equal(found[0].mask, found[1].mask)


def test_where_the_decoder_is_unsafe_webp_is_decoded_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = saved(halves(), tmp_path / "a.webp")
    monkeypatch.setattr(image, "webp_is_safe", lambda: False)
    apart = list[str]()
    whole = image.decode_image
    monkeypatch.setattr(image, "decode_image", lambda data, kind, limits: (apart.append(kind), whole(data, kind, limits))[1])
    measure_image(file)  # the header alone
    assert apart == []
    read(file, 64, 64)
    assert apart == ["WEBP"]


@pytest.mark.parametrize(
    ("suffix", "mode"), [(".png", "RGBA"), (".png", "P"), (".png", "1"), (".jpg", "RGB"), (".jpg", "CMYK"), (".tif", "I;16")]
)
def test_large_images_look_as_they_would_in_more_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, mode: str
) -> None:
    gradient = Image.merge("RGBA", [Image.linear_gradient("L").rotate(turn).resize((700, 500)) for turn in (0, 90, 180, 270)])
    deep = Image.fromarray(np.asarray(gradient.convert("L")).astype(np.uint16) * 257)
    file = saved(deep if mode == "I;16" else gradient.convert(mode), tmp_path / f"a{suffix}")
    small, usual = read_pixels(file, (64, 48), mask="alpha"), read(file, 600, 400)
    monkeypatch.setattr(image, "_LARGE", 1)
    monkeypatch.setattr(image, "_STRIP", 20_000)
    reduced = read_pixels(file, (64, 48), mask="alpha")
    assert float((small.colour - reduced.colour).abs().mean()) < 0.02
    assert (small.mask is None) == (reduced.mask is None)
    if small.mask is not None and reduced.mask is not None:
        assert float((small.mask - reduced.mask).abs().mean()) < 0.02
    assert torch.equal(read(file, 600, 400), usual)  # for which it is not too large


LARGEST = (12_800, 10_000)
LARGE: dict[str, tuple[str, str, dict[str, object]]] = {
    "PNG, RGBA": (".png", "RGBA", {"compress_level": 1}),
    "PNG, 16 bits": (".png", "I;16", {"compress_level": 1}),
    "JPEG, progressive": (".jpg", "RGB", {"progressive": True, "subsampling": 0}),
    "TIFF": (".tif", "RGB", {}),
}


def read_at_512(path: str) -> str:
    return str(tuple(read_pixels(Path(path), (512, 512), mask="alpha").colour.shape))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_the_largest_images_take_at_most_a_gigabyte(tmp_path: Path, name: str) -> None:
    suffix, mode, options = LARGE[name]
    assert LARGEST[0] * LARGEST[1] == image.TRAINING_PIXELS["PNG"]
    file = saved(Image.new(mode, LARGEST), tmp_path / f"a{suffix}", **options)
    taken = taken_by(read_at_512, file)
    assert taken.answer == "(3, 512, 512)"
    assert taken.memory < 1050


def test_larger_ones_are_named(tmp_path: Path) -> None:
    file = saved(Image.new("1", (12_800, 10_001)), tmp_path / "a.png")
    said = r"^It has too many pixels: 12800 × 10001; the limit is 128 million\. Resize it\.$"
    for look in (verify_image, measure_image, lambda file: read_pixels(file, (8, 8))):
        with pytest.raises(UnreadableFile, match=said):
            look(file)
    head = io.BytesIO()
    Image.new("RGB", (8, 8)).save(head, "WEBP", lossless=True)
    data = bytearray(head.getvalue())
    data[21:25] = ((16_000 - 1) | (16_000 - 1) << 14).to_bytes(4, "little")
    (tmp_path / "a.webp").write_bytes(data)
    with pytest.raises(UnreadableFile, match=r"^It has too many pixels: 16000 × 16000; the limit is 40 million"):
        verify_image(tmp_path / "a.webp")
