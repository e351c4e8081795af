"""What the check of a dataset says of each image, and how it finds what only pixels show."""

from __future__ import annotations

import io
import threading
from pathlib import Path

import pytest
from PIL import Image, ImageFilter

import train_embedding
from tests.photographs import photographs
from train_embedding.errors import UnreadableFile
from train_embedding.services.datasets import CheckedImage, CheckOptions, DatasetCheck, Datasets
from train_embedding.services.datasets.checks import ORDINARY_CUT
from train_embedding.services.datasets.measures import Measures, difference_hash
from train_embedding.testing import FakeHost

SAMPLES = Path(train_embedding.__file__).parent / "demo" / "samples"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    return tmp_path / "images"


@pytest.fixture
def datasets(fake_host: FakeHost) -> Datasets:
    return Datasets(fake_host)


def draw(path: Path, size: tuple[int, int], colour: str = "red") -> Path:
    image = Image.linear_gradient("L").resize(size).convert("RGB")
    image.paste(colour, (0, 0, size[0] // 2, size[1] // 3))
    image.save(path)
    return path


def kinds(found: DatasetCheck) -> dict[str, list[str]]:
    return {image.name: [warning.kind for warning in image.warnings if warning.kind != "caption"] for image in found.images}


def texts(image: CheckedImage) -> str:
    return " ".join(warning.text for warning in image.warnings)


def test_size_bucket_and_crop_are_those_of_training(datasets: Datasets, folder: Path) -> None:
    draw(folder / "extreme.png", (600, 100), "blue")
    draw(folder / "fits.png", (128, 64), "green")
    draw(folder / "small.png", (24, 32))
    options = CheckOptions(width=64, height=64)
    extreme, fits, small = datasets.check(folder, options).images
    assert (extreme.target, fits.target, small.target) == ((96, 40), (80, 48), (56, 72))
    assert fits.scale == pytest.approx(0.75)
    assert fits.cut == pytest.approx(1 / 6)
    assert not {"small", "cropped"} & {warning.kind for warning in fits.warnings}
    assert extreme.cut == pytest.approx(1 - 96 / 240)
    assert "60 % of it is cut off to fit 96 × 40." in texts(extreme)
    assert "24 × 32 pixels are enlarged 2.3 times to 56 × 72." in texts(small)
    square = datasets.check(folder, CheckOptions(width=64, height=64, buckets=False))
    assert [size for size, _ in square.buckets] == [(64, 64)]
    assert square.images[1].cut == pytest.approx(0.5)
    stretched = datasets.check(folder, CheckOptions(width=64, height=64, buckets=False, resize_mode="resize"))
    assert not stretched.with_warning("cropped")


def test_bucketing_cuts_off_no_more_than_is_ordinary_of_ordinary_shapes() -> None:
    from train_embedding.engine.data.buckets import bucket_sizes, nearest_size

    sizes, largest = bucket_sizes(512, 512), 0.0
    for width in range(400, 2501):
        target = nearest_size((width, 1000), sizes)
        scale = max(target[0] / width, target[1] / 1000)
        largest = max(largest, 1 - target[0] * target[1] / (width * 1000 * scale**2))
    assert ORDINARY_CUT - 0.01 < largest < ORDINARY_CUT


def test_captions_are_missed_only_by_lines_that_use_them(datasets: Datasets, folder: Path) -> None:
    for name in ("without.png", "empty.png", "other.png", "named.png"):
        draw(folder / name, (64, 64))
    for name, text in (("empty", ""), ("other", "a red cat"), ("named", "my-cat on a mat")):
        (folder / f"{name}.txt").write_text(text)

    def warned(*template: str) -> dict[str, str]:
        found = datasets.look(folder, CheckOptions(embedding="my-cat", template=template))
        kinds = ("caption", "trigger")  # others come when the thread has measured an image
        return {image.name: warning.text for image in found.images for warning in image.warnings if warning.kind in kinds}

    assert warned("a photo of [name]") == {}
    assert warned("[name], [filewords]") == {
        "empty.png": "Its caption is empty.",
        "without.png": 'No caption file; its file name is used: "without".',
    }
    assert warned("[filewords]")["other.png"] == 'Its caption does not contain "my-cat", which is put in front of it.'
    assert "named.png" not in warned("[filewords]")


def test_masks(datasets: Datasets, folder: Path) -> None:
    draw(folder / "a.png", (64, 64))
    Image.new("L", (64, 64), 255).save(folder / "a-masklabel.png")
    Image.new("L", (64, 64), 255).save(folder / "gone-masklabel.png")
    Image.new("RGBA", (64, 64), (10, 20, 30, 100)).save(folder / "b.png")
    draw(folder / "c.png", (64, 64))
    Image.new("L", (64, 8), 255).save(folder / "c-masklabel.png")
    found = datasets.check(folder)
    assert [image.mask for image in found.images[:2]] == ["file", "alpha"]
    assert found.notes == ("1 mask belongs to no image: gone-masklabel.png.",)
    assert "has a different aspect ratio" in found.images[2].problem
    assert [image.mask for image in datasets.look(folder, CheckOptions(masks="none")).images] == ["", "", ""]
    (thumbnail, mask), (_, alpha) = datasets.thumbnails(found.images[:2]).values()
    assert Image.open(io.BytesIO(thumbnail)).size == Image.open(io.BytesIO(mask)).size == (64, 64)
    assert Image.open(io.BytesIO(alpha)).getpixel((5, 5)) == pytest.approx(100, abs=3)


def test_duplicates_and_near_duplicates_of_photographs(datasets: Datasets, folder: Path) -> None:
    photos = photographs()
    for number, photo in enumerate(photos):
        photo.save(folder / f"{number}.png")
    (folder / "copy.png").write_bytes((folder / "0.png").read_bytes())
    photos[1].resize((photos[1].width // 2, photos[1].height // 2)).save(folder / "half.png")
    photos[0].save(folder / "poor.jpg", quality=30)
    found = {image.name: image for image in datasets.check(folder).images}
    marked = {
        name: kind for name, given in kinds(datasets.look(folder)).items() for kind in given if kind in ("duplicate", "similar")
    }
    assert marked == {"copy.png": "duplicate", "half.png": "similar", "poor.jpg": "similar"}
    assert 'The same file as "0.png".' in texts(found["copy.png"])
    assert 'Looks almost like "1.png".' in texts(found["half.png"])


def test_the_difference_hash_has_a_bit_for_each_pixel_that_is_brighter_than_its_left_neighbour() -> None:
    image = Image.new("L", (9, 8))
    image.putdata([column * 20 if row % 2 else 160 - column * 20 for row in range(8) for column in range(9)])
    assert difference_hash(image).hex() == "00ff" * 4


def test_blurred_photographs_are_found_and_drawings_are_not(datasets: Datasets, folder: Path) -> None:
    for number, photo in enumerate(photographs()):
        photo.save(folder / f"photo-{number}.png")
        photo.filter(ImageFilter.GaussianBlur(2)).save(folder / f"blurred-{number}.png")
    for name in ("arch", "checker", "lime"):
        for file in (SAMPLES / name / "train").glob("*.png"):
            (folder / f"{name}-{file.name}").write_bytes(file.read_bytes())
    Image.new("RGB", (64, 64), "teal").save(folder / "plain.png")
    blurred = [image.name for image in datasets.check(folder).with_warning("blurred")]
    assert blurred == sorted(file.name for file in folder.glob("blurred-*"))


def test_damaged_files_are_unreadable_and_named(datasets: Datasets, folder: Path) -> None:
    (folder / "text.png").write_text("no image")
    whole = draw(folder / "cut.png", (64, 64)).read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    found = datasets.check(folder)
    assert kinds(found) == {"cut.png": ["unreadable"], "text.png": ["unreadable"]}
    assert found.images[1].problem == "It is not an image."
    assert found.complete


def test_a_turned_photograph_is_shown_upright(datasets: Datasets, folder: Path) -> None:
    image = Image.new("RGB", (64, 32), "blue")
    image.paste("red", (0, 0, 32, 32))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(folder / "phone.jpg", exif=exif, quality=95)
    found = datasets.check(folder)
    thumbnail = Image.open(io.BytesIO(datasets.thumbnails(found.images)["phone.jpg"][0]))
    assert found.images[0].size == thumbnail.size == (32, 64)
    assert thumbnail.getpixel((16, 8))[0] > 200  # type: ignore[index]


def test_only_changed_images_are_measured_again(datasets: Datasets, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from train_embedding.services.datasets import measuring

    draw(folder / "a.png", (64, 64))
    draw(folder / "b.png", (64, 64), "blue")
    measured: list[str] = []
    true = measuring.measure
    monkeypatch.setattr(measuring, "measure", lambda file, *more: (measured.append(file.name), true(file, *more))[1])
    steps: list[tuple[int, int]] = []
    datasets.check(folder, progress=lambda done, total: steps.append((done, total)))
    assert (measured, steps) == (["a.png", "b.png"], [(1, 2), (2, 2)])
    assert Datasets(datasets._host).check(folder).complete
    assert measured == ["a.png", "b.png"], "another process reads the cache"
    draw(folder / "b.png", (64, 60), "green")
    datasets.check(folder)
    assert measured == ["a.png", "b.png", "b.png"]


def test_a_look_answers_at_once_and_measures_in_the_background(datasets: Datasets, folder: Path) -> None:
    draw(folder / "a.png", (64, 64))
    assert datasets.look(folder).measured == 0
    datasets._checking.measuring.wait()
    assert datasets.look(folder).complete


def test_a_damaged_cache_is_made_anew(datasets: Datasets, fake_host: FakeHost, folder: Path) -> None:
    (fake_host.info().runs_folder.parent / "image-measures.sqlite3").write_bytes(b"no database" * 100)
    draw(folder / "a.png", (64, 64))
    found = datasets.check(folder)
    assert found.complete
    assert datasets.thumbnails(found.images)


def test_an_image_of_16_bits_has_a_preview_with_its_shades(datasets: Datasets, folder: Path) -> None:
    Image.new("I;16", (64, 64), 30_000).save(folder / "deep.png")
    (image,) = datasets.check(folder).images
    assert (image.problem, image.measured) == ("", True)
    assert [warning.kind for warning in image.warnings] == ["caption"]
    for preview in (datasets.thumbnails([image])["deep.png"][0], datasets.picture(image), datasets.whole_picture(image, 32)):
        assert abs(Image.open(io.BytesIO(preview)).convert("L").getpixel((16, 16)) - 30_000 / 257) < 3  # type: ignore[operator]


def test_images_that_changed_are_looked_at_again_without_the_others(datasets: Datasets, folder: Path) -> None:
    draw(folder / "a.png", (64, 64))
    draw(folder / "b.png", (16, 16), "blue")
    (folder / "copy.png").write_bytes((folder / "a.png").read_bytes())
    before = datasets.check(folder, CheckOptions(width=64, height=64))
    (folder / "copy.txt").write_text("a caption", encoding="utf-8")
    (folder / "b.txt").write_text("not read again", encoding="utf-8")
    datasets.exclude(folder, ["copy.png"])
    after = datasets.look_again(before, ["copy.png", "none.png"])
    a, b, copy = after.images
    assert (a, b) == before.images[:2]
    assert (copy.caption, copy.excluded, copy.measured) == ("a caption", True, True)
    assert [warning.kind for warning in copy.warnings] == ["duplicate", "blurred"]
    assert copy.sharpness == before.images[2].sharpness


def test_a_picture_is_upright_and_on_white(datasets: Datasets, folder: Path) -> None:
    image = Image.new("RGBA", (1200, 600), (0, 0, 255, 0))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(folder / "turned.png", exif=exif)
    (folder / "broken.png").write_bytes((folder / "turned.png").read_bytes()[:200])
    broken, turned = sorted(datasets.look(folder).images, key=lambda image: image.name)
    picture = Image.open(io.BytesIO(datasets.picture(turned)))
    assert picture.size == (256, 512)
    assert picture.format == "JPEG"
    assert picture.getpixel((10, 10)) == (255, 255, 255)
    with pytest.raises(UnreadableFile):
        datasets.picture(broken)


def test_images_in_view_are_measured_before_the_others(datasets: Datasets, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.png", "b.png", "c.png"):
        draw(folder / name, (64, 64))
    measured: list[str] = []
    begun, told = threading.Event(), threading.Event()

    def record(file: Path, *_: object) -> Measures:
        begun.set()
        assert told.wait(30)
        measured.append(file.name)
        return Measures(digest=b"0" * 32, bits=b"0" * 8, colours=b"0" * 768)

    monkeypatch.setattr("train_embedding.services.datasets.measuring.measure", record)
    images = datasets.look(folder).images
    assert begun.wait(30)
    datasets.measure_first([images[2]])
    assert datasets.waiting() == 2
    told.set()
    datasets._checking.measuring.wait()
    assert measured == ["a.png", "c.png", "b.png"]
    assert datasets.waiting() == 0
    assert datasets.look(folder).complete


def test_a_file_name_without_words_is_no_caption(datasets: Datasets, folder: Path) -> None:
    draw(folder / "01.png", (64, 64))
    (image,) = datasets.check(folder).images
    assert [warning.text for warning in image.warnings if warning.kind == "caption"] == [
        "No caption file, and its file name has no words."
    ]
