"""Crops: the file that has them, and that training sees a cropped image as it would see a copy that was cut out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from train_embedding.engine.data import image as image_module
from train_embedding.engine.data.crops import (
    CROPS_FILE,
    Crop,
    FolderCrops,
    checked_crop,
    crop_in,
    format_crops,
    pixel_crop,
    read_crops,
)
from train_embedding.engine.data.image import read_image, read_pixels
from train_embedding.engine.data.image_folder import ImageOptions, scan_folder
from train_embedding.engine.data.latent_cache import LatentCache
from train_embedding.engine.data.latents import EncodedImage, encode_dataset
from train_embedding.engine.model.diffusion_model import DiffusionModel
from train_embedding.errors import InvalidInput, UnreadableFile

BOX = (96, 16, 128, 96)
"Left, top, width and height in an image of SIZE."
SIZE = (320, 160)


def colourful(size: tuple[int, int] = SIZE) -> Image.Image:
    bands = [Image.linear_gradient("L").rotate(turn).resize(size) for turn in (0, 90, 180)]
    return Image.merge("RGB", bands)


def cut_out(picture: Image.Image, box: tuple[int, int, int, int] = BOX) -> Image.Image:
    return picture.crop((box[0], box[1], box[0] + box[2], box[1] + box[3]))


def write(folder: Path, crops: object) -> None:
    (folder / CROPS_FILE).write_text(json.dumps({"crops": crops}), encoding="utf-8")


@pytest.mark.parametrize("mode", ["crop", "resize"])
def test_a_cropped_image_is_read_like_a_copy_that_was_cut_out(tmp_path: Path, mode: str) -> None:
    colourful().save(tmp_path / "whole.png")
    cut_out(colourful()).save(tmp_path / "copy.png")
    cropped = read_pixels(tmp_path / "whole.png", (64, 64), mode, crop=pixel_crop(BOX, SIZE)).colour
    assert torch.equal(cropped, read_pixels(tmp_path / "copy.png", (64, 64), mode).colour)
    assert not torch.equal(cropped, read_pixels(tmp_path / "whole.png", (64, 64), mode).colour)
    assert read_image(tmp_path / "whole.png", 512, pixel_crop(BOX, SIZE)).tobytes() == cut_out(colourful()).tobytes()


def test_the_mask_is_cropped_with_the_image_whatever_its_size(tmp_path: Path) -> None:
    mask = Image.new("L", SIZE, 0)
    mask.paste(255, (96 + 64, 0, 320, 160))  # the right half of the crop
    colourful().save(tmp_path / "a.png")
    seen: list[torch.Tensor] = []
    for scale in (1, 0.5, 0.25):
        mask.resize((round(SIZE[0] * scale), round(SIZE[1] * scale)), Image.Resampling.BOX).save(tmp_path / "a-masklabel.png")
        found = read_pixels(tmp_path / "a.png", (64, 48), mask="file", crop=pixel_crop(BOX, SIZE)).mask
        assert found is not None
        assert float(found[:, :30].max()) == 0, scale
        assert float(found[:, 34:].min()) == 1, scale
        seen.append(found)
    transparent = colourful()
    transparent.putalpha(mask)
    transparent.save(tmp_path / "b.png")
    found = read_pixels(tmp_path / "b.png", (64, 48), mask="alpha", crop=pixel_crop(BOX, SIZE)).mask
    assert found is not None
    assert torch.equal(found, seen[0])


@pytest.mark.parametrize("orientation", [3, 5, 6, 8])
def test_a_crop_is_a_part_of_the_upright_image(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = colourful()
    stored.save(tmp_path / "turned.png", exif=exif)
    turn = image_module._UPRIGHT[orientation]
    upright = stored.transpose(turn)
    cut_out(upright, (16, 8, 96, 64)).save(tmp_path / "copy.png")
    crop = pixel_crop((16, 8, 96, 64), upright.size)
    cropped = read_pixels(tmp_path / "turned.png", (64, 64), crop=crop).colour
    assert torch.equal(cropped, read_pixels(tmp_path / "copy.png", (64, 64)).colour)


def test_a_crop_of_a_large_image_keeps_its_details(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "large.png"
    colourful((1200, 800)).save(file)
    crop = pixel_crop((301, 203, 203, 151), (1200, 800))
    usual = read_pixels(file, (64, 48), crop=crop).colour
    monkeypatch.setattr(image_module, "_LARGE", 1)
    monkeypatch.setattr(image_module, "_STRIP", 20_000)
    sizes: list[tuple[int, int]] = []
    upright = image_module._upright

    def watched(*arguments: object, **more: object) -> object:
        found = upright(*arguments, **more)  # pyright: ignore[reportArgumentType]
        sizes.append(found.colour.size)
        return found

    monkeypatch.setattr(image_module, "_upright", watched)
    reduced = read_pixels(file, (64, 48), crop=crop).colour
    assert float((usual - reduced).abs().mean()) < 0.02
    assert sizes[0][0] * crop.width >= 2 * 64
    crop = Crop(0.0, 0.0, 0.9, 0.9)
    assert read_pixels(file, (32, 24), crop=crop).colour.shape == (3, 24, 32)
    assert sizes[1][0] < 1200, "it is reduced while it is decoded"


def test_the_bucket_is_that_of_the_crop(tmp_path: Path) -> None:
    colourful().save(tmp_path / "a.png")
    sizes = ((64, 64), (96, 40))
    (whole,), _ = scan_folder(tmp_path, ImageOptions(sizes))
    assert (whole.target, whole.size, whole.crop) == ((96, 40), SIZE, None)
    write(tmp_path, {"a.png": pixel_crop((0, 0, 160, 160), SIZE).to_json()})
    (cropped,), _ = scan_folder(tmp_path, ImageOptions(sizes))
    assert (cropped.target, cropped.size) == ((64, 64), SIZE)
    assert cropped.crop == Crop(0, 0, 0.5, 1)


def test_a_crop_changes_what_a_run_trains_on_and_cached_latents_notice(tmp_path: Path, tiny_model: DiffusionModel) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    colourful().save(folder / "a.png")
    options = ImageOptions(((64, 64),))
    cache = LatentCache(tmp_path / "latents", tiny_model)

    def encoded() -> EncodedImage:
        images, _ = scan_folder(folder, options)
        return encode_dataset(tiny_model, images, cache=cache)[0][0]

    whole = encoded()
    write(folder, {"a.png": pixel_crop(BOX, SIZE).to_json()})
    cropped = encoded()
    assert not torch.allclose(whole.moments.mean, cropped.moments.mean, atol=1e-3)
    cut_out(colourful()).save(tmp_path / "copy.png")
    copy = replace(cropped.image, file=tmp_path / "copy.png", crop=None)
    assert torch.equal(cropped.moments.mean, tiny_model.encode_images(copy.read().colour[None]).mean[0])
    write(folder, {"a.png": pixel_crop((0, 16, 128, 96), SIZE).to_json()})
    assert not torch.equal(encoded().moments.mean, cropped.moments.mean)
    (folder / CROPS_FILE).unlink()
    assert torch.equal(encoded().moments.mean, whole.moments.mean)
    assert len([path for path in (tmp_path / "latents").rglob("*") if path.is_file()]) == 3


@pytest.mark.parametrize(
    "value",
    [
        {"left": float("nan"), "top": 0, "width": 1, "height": 1},
        {"left": 0, "top": 0, "width": float("inf"), "height": 1},
        {"left": 0, "top": 0, "width": 0, "height": 1},
        {"left": -0.1, "top": 0, "width": 0.5, "height": 1},
        {"left": 0.6, "top": 0, "width": 0.5, "height": 1},
        {"left": 0, "top": 0.5, "width": 0.5, "height": 1},
        {"left": "0", "top": 0, "width": 0.5, "height": 1},
        {"left": True, "top": 0, "width": 0.5, "height": 1},
        {"left": 0, "top": 0, "width": 0.5},
        {"left": 0, "top": 0, "width": 0.5, "height": 1, "angle": 3},
        [0, 0, 1, 1],
        "all",
        1e999,
        {"left": 10**400, "top": 0, "width": 1, "height": 1},
    ],
    ids=str,
)
def test_a_crop_that_makes_no_sense_is_told_and_only_its_image_is_left_out(tmp_path: Path, value: object) -> None:
    for name in ("bad.png", "good.png"):
        colourful().save(tmp_path / name)
    write(tmp_path, {"bad.png": value})
    images, skipped = scan_folder(tmp_path, ImageOptions(((64, 64),)))
    assert [image.name for image in images] == ["good.png"]
    ((name, reason),) = skipped
    assert name == "bad.png"
    assert reason.startswith('Its crop in "crops-for-training.json" cannot be used. ')
    assert "Correct the file, or delete it to use whole images." in reason


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"crops": []}', b"\xff\xfe", b"[" * 200_000, b'{"crops": ' + b"1" * 6000 + b"}"],
    ids=lambda content: str(content[:12]),
)
def test_a_damaged_file_of_crops_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / CROPS_FILE).write_bytes(content)
    with pytest.raises(UnreadableFile, match=r"crops-for-training\.json"):
        read_crops(tmp_path)
    crops = FolderCrops()
    for name in ("a.png", "b.png"):
        with pytest.raises(UnreadableFile):
            crops.of(tmp_path / name)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    crop = pixel_crop(BOX, SIZE)
    (tmp_path / CROPS_FILE).write_bytes(format_crops({"a.png": crop.to_json(), "剣.png": Crop(0, 0, 1, 1).to_json()}))
    assert crop_in(read_crops(tmp_path), "a.png") == crop
    assert crop_in(read_crops(tmp_path), "剣.png") is None, "the whole image is no crop"
    assert crop_in(read_crops(tmp_path), "b.png") is None
    assert read_crops(tmp_path.parent) == {}


def test_pixels_stay_the_same_pixels() -> None:
    for width in (7, 100, 1023, 4000):
        for left in range(0, width, max(1, width // 13)):
            box = (left, 0, width - left, 3)
            assert pixel_crop(box, (width, 5)).rectangle((width, 5)) == list(box)
    assert checked_crop(0.999, 0.999, 0.001, 0.001).rectangle((10, 10)) == [9, 9, 1, 1], "at least one pixel"
    for box in ((0, 0, 11, 5), (-1, 0, 5, 5), (0, 0, 0, 5), (6, 0, 5, 5)):
        with pytest.raises(InvalidInput):
            pixel_crop(box, (10, 10))
