"""Masks of a dataset's images: written for training, replaced and removed with undo, and made from the foreground."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.caption_models import make_brightness_model
from train_embedding.engine import segmentation
from train_embedding.engine.data.crops import Crop
from train_embedding.engine.data.image_folder import ImageOptions, scan_folder
from train_embedding.engine.data.masks import mask_weights, pool_mask
from train_embedding.errors import Conflict, InvalidInput, NotFound
from train_embedding.services.datasets import Datasets
from train_embedding.testing import FakeHost

SIZE = (128, 64)
MASK = "a-masklabel.png"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    Image.linear_gradient("L").resize(SIZE).convert("RGB").save(tmp_path / "images" / "a.png")
    return tmp_path / "images"


@pytest.fixture
def datasets(fake_host: FakeHost) -> Datasets:
    return Datasets(fake_host)


def png(picture: Image.Image, kind: str = "PNG", **more: object) -> bytes:
    data = io.BytesIO()
    picture.save(data, kind, **more)  # pyright: ignore[reportArgumentType]
    return data.getvalue()


def left_half(size: tuple[int, int] = SIZE) -> Image.Image:
    """White on the left: what is trained."""
    mask = Image.new("L", size, 0)
    mask.paste(255, (0, 0, size[0] // 2, size[1]))
    return mask


def test_a_painted_mask_weighs_the_loss_of_a_run(datasets: Datasets, folder: Path) -> None:
    options = ImageOptions((SIZE,), masks="auto")

    def weights() -> torch.Tensor | None:
        mask = scan_folder(folder, options)[0][0].read().mask
        return None if mask is None else mask_weights(pool_mask(mask, 8, 16), 0.1)

    assert weights() is None
    written = datasets.masks.write(folder, "a.png", png(left_half((64, 32)).convert("RGB")))
    assert (written.files, written.in_trash) == ((MASK,), ())
    with Image.open(folder / MASK) as mask:
        assert (mask.size, mask.mode) == (SIZE, "L"), "in the size of the image"
    found = weights()
    assert found is not None
    assert found.shape == (8, 16)
    assert float(found[:, :7].min()) == 1
    assert float(found[:, 9:].max()) == pytest.approx(0.1)
    assert datasets.check(folder).images[0].mask == "file"
    datasets.crops.set(folder, "a.png", Crop(0.6, 0, 0.4, 1))
    assert weights() is None, "the mask is cropped with the image: what is left of it is the same everywhere"


def test_a_present_mask_goes_to_the_trash_after_confirmation_and_comes_back(
    datasets: Datasets, folder: Path, fake_host: FakeHost
) -> None:
    old = png(left_half().rotate(180))
    (folder / MASK).write_bytes(old)
    with pytest.raises(Conflict, match=MASK) as caught:
        datasets.masks.write(folder, "a.png", png(left_half()))
    assert "trash" in caught.value.hint
    assert (folder / MASK).read_bytes() == old
    written = datasets.masks.write(folder, "a.png", png(left_half()), replace=True)
    assert written.in_trash == (MASK,)
    new = (folder / MASK).read_bytes()
    assert new != old
    trash = fake_host.info().runs_folder.parent / "dataset-trash" / "masks"
    assert [file.read_bytes() for file in trash.rglob(MASK)] == [old]
    assert datasets.removed(folder) == [], "it is not what undoing the removal of images brings back"
    assert datasets.masks.remove(folder, ["a.png"]).in_trash == (MASK,)
    assert not (folder / MASK).exists()
    datasets.masks.undo(folder)
    assert (folder / MASK).read_bytes() == new
    datasets.masks.undo(folder)
    assert (folder / MASK).read_bytes() == old
    with pytest.raises(NotFound):
        datasets.masks.undo(folder)
    assert datasets.masks.can_undo(folder) == 0


def test_undo_leaves_a_mask_of_the_user_alone(datasets: Datasets, folder: Path) -> None:
    datasets.masks.write(folder, "a.png", png(left_half()))
    (folder / MASK).write_bytes(png(left_half().rotate(180)))
    mine = (folder / MASK).read_bytes()
    with pytest.raises(Conflict):
        datasets.masks.undo(folder)
    assert (folder / MASK).read_bytes() == mine


def test_a_mask_with_the_suffix_of_the_image_is_replaced_too(datasets: Datasets, folder: Path) -> None:
    Image.new("RGB", SIZE).save(folder / "b.jpg")
    left_half().save(folder / "b-masklabel.jpg")
    datasets.masks.write(folder, "b.jpg", png(left_half()), replace=True)
    assert not (folder / "b-masklabel.jpg").exists()
    assert (folder / "b-masklabel.png").exists()
    datasets.masks.undo(folder)
    assert (folder / "b-masklabel.jpg").exists()
    assert not (folder / "b-masklabel.png").exists()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not an image"),
        (b"<svg onload=alert(1)>", "not an image"),
        (png(left_half())[:60], "cannot be decoded"),
        (png(Image.new("1", (8192, 4096))), "cannot be decoded"),
        (b"\x89PNG" + b"\0" * (9 * 2**20), "larger than 8 MB"),
        (png(Image.new("L", (64, 64), 255)), "another shape"),
        (png(Image.new("L", SIZE, 255)), "same everywhere"),
        (png(Image.new("L", SIZE, 0)), "same everywhere"),
        (png(Image.new("RGBA", SIZE, (255, 255, 255, 0))), "same everywhere"),
    ],
    ids=["empty", "svg", "cut off", "large", "heavy", "shape", "white", "black", "transparent"],
)
def test_what_is_no_mask_is_refused(datasets: Datasets, folder: Path, data: bytes, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        datasets.masks.write(folder, "a.png", data)
    assert not (folder / MASK).exists()


def test_the_mask_of_a_turned_image_is_upright(datasets: Datasets, folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", SIZE, "red").save(folder / "turned.jpg", exif=exif)
    datasets.masks.write(folder, "turned.jpg", png(left_half((64, 128))))
    with Image.open(folder / "turned-masklabel.png") as mask:
        assert mask.size == (64, 128)
    assert not datasets.check(folder).images[1].problem


def test_the_present_mask_is_what_painting_begins_with(datasets: Datasets, folder: Path) -> None:
    assert datasets.masks.read(folder, "a.png", 64) is None
    left_half().save(folder / MASK)
    found = datasets.masks.read(folder, "a.png", 64)
    assert found is not None
    with Image.open(io.BytesIO(found)) as mask:
        assert (mask.size, mask.mode, mask.getpixel((5, 5)), mask.getpixel((60, 5))) == ((64, 32), "L", 255, 0)
    transparent = Image.new("RGB", SIZE)
    transparent.putalpha(left_half())
    transparent.save(folder / "b.png")
    found = datasets.masks.read(folder, "b.png", 64)
    assert found is not None
    with Image.open(io.BytesIO(found)) as mask:
        assert (mask.getpixel((5, 5)), mask.getpixel((60, 5))) == (255, 0)


def test_backgrounds_are_removed_by_a_model_that_is_there(
    datasets: Datasets, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(segmentation.HOME, str(tmp_path / "models"))
    assert "u2net.onnx" in datasets.masks.foreground_problem()
    with pytest.raises(InvalidInput, match=r"u2net\.onnx"):
        datasets.masks.foreground(folder, "a.png")
    assert not (tmp_path / "models").exists(), "nothing is downloaded"
    pytest.importorskip("onnxruntime")
    make_brightness_model(tmp_path / "models" / "u2netp.onnx", segmentation.SIDE)
    assert datasets.masks.foreground_problem() == ""
    picture = Image.new("RGB", SIZE, "black")
    picture.paste((255, 255, 255), (0, 0, 64, 64))
    picture.save(folder / "a.png")
    found = datasets.masks.foreground(folder, "a.png")
    with Image.open(io.BytesIO(found)) as mask:
        assert mask.size == SIZE
        assert (mask.getpixel((10, 30)), mask.getpixel((120, 30))) == (255, 0)
    datasets.masks.write(folder, "a.png", found)
    assert datasets.check(folder).images[0].mask == "file"
