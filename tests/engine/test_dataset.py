"""Training pictures: turned, cropped and made opaque, and what is left out with which reason."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from train_embedding.engine.dataset import check_picture, find_pictures, read_picture, read_pictures
from train_embedding.errors import NotAllowed, NotFound, NothingToTrainOn, UnreadableFile

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


def test_pixels(tmp_path: Path) -> None:
    pixels = read_picture(saved(halves(), tmp_path / "a.png"), 64, 64)
    assert (pixels.shape, pixels.dtype) == ((3, 64, 64), torch.float32)
    assert (float(pixels.min()), float(pixels.max())) == (-1.0, 1.0)
    assert colours(pixels)["left"] == RED
    assert colours(pixels)["right"] == BLUE


def test_width_and_height_in_that_order(tmp_path: Path) -> None:
    assert read_picture(saved(halves(), tmp_path / "a.png"), 32, 16).shape == (3, 16, 32)


@pytest.mark.parametrize(("orientation", "where"), [(1, "left"), (2, "right"), (3, "right"), (6, "top"), (8, "bottom")])
def test_exif_orientation(tmp_path: Path, orientation: int, where: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = read_picture(saved(halves(), tmp_path / "a.png", exif=exif), 64, 64)
    assert colours(pixels)[where] == RED


def test_cropped_around_the_centre_and_not_squashed(tmp_path: Path) -> None:
    picture = Image.new("RGB", (192, 64), GREEN)
    picture.paste(RED, (64, 0, 128, 64))
    pixels = read_picture(saved(picture, tmp_path / "a.png"), 32, 32)
    assert set(colours(pixels).values()) == {RED}


def test_small_pictures_are_enlarged(tmp_path: Path) -> None:
    pixels = read_picture(saved(halves((8, 8)), tmp_path / "a.png"), 64, 64)
    assert colours(pixels)["left"] == RED


def test_transparent_parts_are_white(tmp_path: Path) -> None:
    picture = halves(left=(255, 0, 0, 255), right=(0, 0, 255, 0))
    pixels = read_picture(saved(picture, tmp_path / "a.png"), 64, 64)
    assert (colours(pixels)["left"], colours(pixels)["right"]) == (RED, (255, 255, 255))


def test_a_transparent_palette_colour_is_white(tmp_path: Path) -> None:
    picture = halves().quantize(2)
    transparent = picture.getpixel((63, 0))
    pixels = read_picture(saved(picture, tmp_path / "a.gif", transparency=transparent), 64, 64)
    assert (colours(pixels)["left"], colours(pixels)["right"]) == (RED, (255, 255, 255))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    suffix = ".tif" if mode == "CMYK" else ".png"
    pixels = read_picture(saved(halves(left=(255, 255, 255), right=(0, 0, 0)).convert(mode), tmp_path / f"a{suffix}"), 64, 64)
    assert (colours(pixels)["left"], colours(pixels)["right"]) == ((255, 255, 255), (0, 0, 0))


def test_16_bits_are_scaled_and_not_clipped(tmp_path: Path) -> None:
    values = np.zeros((64, 64), dtype=np.uint16)
    values[:, 32:] = 128 * 257
    file = saved(Image.fromarray(values), tmp_path / "a.png")
    pixels = read_picture(file, 64, 64)
    assert (colours(pixels)["left"], colours(pixels)["right"]) == ((0, 0, 0), (128, 128, 128))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "folder"
    made.mkdir()
    saved(halves(), made / "good.png")
    return made


def reasons(folder: Path) -> dict[str, str]:
    pictures, skipped = read_pictures(folder, 64, 64)
    assert [picture.file.name for picture in pictures] == ["good.png"]
    return dict(skipped)


def test_words_come_with_the_picture(folder: Path) -> None:
    (folder / "good.txt").write_text("a halved square")
    ((picture,), skipped) = read_pictures(folder, 64, 64)
    assert (picture.words, skipped) == ("a halved square", [])


def test_what_is_no_training_picture_is_not_mentioned(folder: Path) -> None:
    saved(halves(), folder / "good-masklabel.png")
    saved(halves(), folder / ".hidden.png")
    (folder / "notes.txt").write_text("x")
    (folder / "deeper.png").mkdir()
    saved(halves(), folder / "deeper.png" / "a.png")
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    assert reasons(folder) == {}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_does_not_hang(folder: Path) -> None:
    os.mkfifo(folder / "pipe.png")
    assert reasons(folder) == {}


def test_unreadable_pictures_are_left_out_with_the_reason(folder: Path) -> None:
    whole = saved(halves((256, 256)), folder / "cut.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.png").touch()
    (folder / "text.webp").write_text("not a picture")
    (folder / "head.png").write_bytes((folder / "good.png").read_bytes()[:20])
    found = reasons(folder)
    assert sorted(found) == ["cut.jpg", "empty.png", "head.png", "text.webp"]
    assert found["cut.jpg"].startswith("It is damaged: ")
    assert found["empty.png"] == "It is empty."
    assert found["text.webp"] == "It is not a picture."


def test_huge_pictures_are_not_decoded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = saved(Image.new("RGB", (8, 8)), folder / "bomb.bmp").read_bytes()
    (folder / "bomb.bmp").write_bytes(bomb[:18] + (60000).to_bytes(4, "little") * 2 + bomb[26:])
    assert reasons(folder) == {"bomb.bmp": "It has too many pixels."}
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # a host may have switched off Pillow's own bound
    assert reasons(folder) == {"bomb.bmp": "It has 60000 × 60000 pixels, which is too many."}


def test_whatever_pillow_raises(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(halves(), folder / "odd.gif")
    whole_open = Image.open

    def open_(file: Path) -> Image.Image:
        if file.name == "odd.gif":
            raise IndexError("index out of range")
        return whole_open(file)

    monkeypatch.setattr(Image, "open", open_)
    assert reasons(folder) == {"odd.gif": "It is damaged: index out of range"}


def test_a_bad_caption_file_leaves_its_picture_out(folder: Path) -> None:
    saved(halves(), folder / "b.png")
    (folder / "b.txt").write_bytes(b"\xff\xfe")
    assert reasons(folder) == {"b.png": 'The caption file "b.txt" is not UTF-8 text.'}


def test_a_quick_check_finds_what_reading_finds(folder: Path) -> None:
    check_picture(folder / "good.png")
    (folder / "text.png").write_text("x")
    with pytest.raises(UnreadableFile, match="It is not a picture"):
        check_picture(folder / "text.png")
    (folder / "good.txt").write_bytes(b"\xff")
    with pytest.raises(UnreadableFile, match="not UTF-8"):
        check_picture(folder / "good.png")


def test_links_that_lead_outside_the_allowed_folders(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    saved(halves(), outside / "secret.png")
    (outside / "secret.txt").write_text("secret words")
    (folder / "way.png").symlink_to(outside / "secret.png")
    saved(halves(), folder / "words.png")
    (folder / "words.txt").symlink_to(outside / "secret.txt")
    pictures, skipped = read_pictures(folder, 64, 64, (folder,))
    assert [picture.file.name for picture in pictures] == ["good.png"]
    sentence = "is a link that leads outside the folders that may be used on this server."
    assert skipped == [("way.png", f'"way.png" {sentence}'), ("words.png", f'"words.txt" {sentence}')]
    assert len(read_pictures(folder, 64, 64, (folder, outside))[0]) == 3
    assert len(read_pictures(folder, 64, 64)[0]) == 3
    with pytest.raises(UnreadableFile, match="leads outside"):
        check_picture(folder / "words.png", (folder,))


def test_nothing_to_train_on(folder: Path) -> None:
    (folder / "good.png").unlink()
    with pytest.raises(NothingToTrainOn, match="There is no picture in") as caught:
        read_pictures(folder, 64, 64)
    assert caught.value.hint == "Subfolders are not searched."
    (folder / "b.png").touch()
    with pytest.raises(NothingToTrainOn, match=r'1 file was skipped\. "b\.png": It is empty\.'):
        read_pictures(folder, 64, 64)


def test_no_folder(folder: Path) -> None:
    for path in (folder / "none", folder / "good.png"):
        with pytest.raises(NotFound, match="There is no folder"):
            find_pictures(path)


def test_a_folder_that_may_not_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(NotAllowed, match=r"cannot be read: Permission denied\."):
        find_pictures(folder)
