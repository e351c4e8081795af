"""One picture file: turned, framed and made opaque, its mask beside it, and what is said of files that are none."""

from __future__ import annotations

import sys
import zlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from train_embedding.engine import pictures
from train_embedding.engine.pictures import measure, read_pixels, verify
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


def mask_of(file: Path, size: tuple[int, int], fit: str = "crop", mask: str = "alpha") -> torch.Tensor:
    found = read_pixels(file, size, fit, mask).mask
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
    assert measure(file) == (expected, False)
    assert read_pixels(file, expected).colour.shape == (3, *expected[::-1])


@pytest.mark.parametrize(("mode", "alpha"), [("RGB", False), ("RGBA", True), ("L", False), ("LA", True), ("P", False)])
def test_what_can_be_transparent(tmp_path: Path, mode: str, alpha: bool) -> None:
    assert measure(saved(halves().convert(mode), tmp_path / "a.png")) == ((64, 64), alpha)


def test_a_transparent_colour_of_16_bits_does_not(tmp_path: Path) -> None:
    file = saved(Image.fromarray(np.full((64, 64), 128 * 257, dtype=np.uint16)), tmp_path / "a.png")
    data, chunk = file.read_bytes(), b"tRNS" + bytes(2)  # which Pillow 9 cannot write
    end = data.index(b"IDAT") - 4
    file.write_bytes(data[:end] + (2).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big") + data[end:])
    with Image.open(file) as opened:
        assert "transparency" in opened.info
    assert measure(file) == ((64, 64), False)
    pixels = read_pixels(file, (64, 64), mask="alpha")
    assert (pixels.mask, colours(pixels.colour)["left"]) == (None, (128, 128, 128))


def test_a_transparent_colour_counts_as_alpha(tmp_path: Path) -> None:
    assert measure(saved(halves().quantize(2), tmp_path / "a.gif", transparency=0))[1]


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
    assert caught.value.message == 'Its mask "a-masklabel.png" has another shape: 64 × 64 pixels, the picture 192 × 128.'
    (tmp_path / "a-masklabel.png").write_text("x")
    with pytest.raises(UnreadableFile, match=r'Its mask "a-masklabel\.png" cannot be used: It is not a picture\.'):
        read_pixels(file, (64, 64), mask="file")


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    for look in (verify, measure, lambda file: read_pixels(file, (8, 8))):
        with pytest.raises(UnreadableFile, match=r"^It is no longer there\.$"):
            look(tmp_path / "gone.png")


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = saved(halves(), tmp_path / "a.png")

    def refuse(_file: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Image, "open", refuse)
    with pytest.raises(UnreadableFile, match=r"^It cannot be read: Permission denied\.$"):
        measure(file)


@pytest.fixture
def new_kind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A picture of a kind that Pillow learns from a plugin, and no memory of plugins that were looked for."""
    monkeypatch.setattr(pictures, "_PLUGINS", {"te_test_plugin": "register"})
    monkeypatch.setattr(Image, "EXTENSION", dict(Image.registered_extensions()))
    pictures._register_plugins.cache_clear()
    file = saved(halves(), tmp_path / "a.png")
    return file.rename(tmp_path / "a.TEPIC")


def test_a_plugin_is_loaded_when_a_picture_needs_it(new_kind: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = ModuleType("te_test_plugin")
    plugin.register = lambda: Image.register_extension("PNG", ".tepic")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, plugin.__name__, plugin)
    assert measure(new_kind) == ((64, 64), False)


def test_without_the_plugin_its_kind_is_named(new_kind: Path) -> None:
    with pytest.raises(UnreadableFile, match=r"^The Pillow that is installed reads no \.TEPIC pictures\.$"):
        measure(new_kind)


def test_the_plugins_kinds_are_asked_for_by_their_names() -> None:
    assert set(pictures._PLUGINS) == {"pillow_heif", "pillow_avif", "pillow_jxl"}
    assert pictures._PLUGINS["pillow_heif"] == "register_heif_opener"


def test_floating_point_pixels_are_named_and_not_guessed(tmp_path: Path) -> None:
    file = saved(Image.fromarray(np.full((64, 64), 0.5, np.float32)), tmp_path / "a.tif")
    with pytest.raises(UnreadableFile, match="floating-point"):
        read(file, 64, 64)
