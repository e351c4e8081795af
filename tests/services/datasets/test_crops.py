"""Crops of a dataset's images: chosen, centred, shown by the check, and undone."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from train_embedding.engine.data.crops import CROPS_FILE, Crop
from train_embedding.errors import Conflict, InvalidInput, NotFound, UnreadableFile
from train_embedding.services.datasets import CheckOptions, Datasets, Upload, focus
from train_embedding.services.datasets.focus import Focus, crop_around, find_focus
from train_embedding.testing import FakeHost

SIZE = (200, 100)
SQUARE = CheckOptions(width=64, height=64, buckets=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for name, at in (("left", 40), ("right", 160)):
        draw(tmp_path / "images" / f"{name}.png", at)
    return tmp_path / "images"


@pytest.fixture
def datasets(fake_host: FakeHost) -> Datasets:
    return Datasets(fake_host)


def draw(file: Path, at: int) -> None:
    """A red disk in front of white."""
    picture = Image.new("RGB", SIZE, "white")
    ImageDraw.Draw(picture).ellipse((at - 15, 35, at + 15, 65), fill="red")
    picture.save(file)


def crops(folder: Path) -> dict[str, object]:
    return json.loads((folder / CROPS_FILE).read_text(encoding="utf-8"))["crops"]


def test_a_crop_is_stored_beside_the_image_and_undone(datasets: Datasets, folder: Path) -> None:
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert datasets.crops.set_box(folder, "left.png", (0, 0, 100, 100)).images == ("left.png",)
    assert crops(folder) == {"left.png": {"left": 0.0, "top": 0.0, "width": 0.5, "height": 1.0}}
    assert {file.name: file.read_bytes() for file in folder.iterdir() if file.name != CROPS_FILE} == before
    datasets.crops.set(folder, "right.png", Crop(0.25, 0, 0.5, 1))
    assert [(found.name, found.to_json()["crop"]) for found in datasets.crops.list(folder)] == [
        ("left.png", [0, 0, 100, 100]),
        ("right.png", [50, 0, 100, 100]),
    ]
    assert datasets.crops.undo(folder).images == ("right.png",)
    assert list(crops(folder)) == ["left.png"]
    assert datasets.crops.clear(folder).images == ("left.png",)
    assert not (folder / CROPS_FILE).exists(), "nothing is left of it"
    assert datasets.crops.can_undo(folder) == 2
    datasets.crops.undo(folder)
    datasets.crops.undo(folder)
    assert not (folder / CROPS_FILE).exists()
    with pytest.raises(NotFound, match="no change of crops"):
        datasets.crops.undo(folder)
    datasets.crops.set_box(folder, "left.png", (0, 0, 100, 100))
    (folder / CROPS_FILE).write_text('{"crops": {}}')
    with pytest.raises(Conflict):
        datasets.crops.undo(folder)


def test_what_is_not_inside_the_image_is_refused(datasets: Datasets, folder: Path) -> None:
    for box in ((0, 0, 201, 100), (-1, 0, 50, 50), (0, 0, 0, 10)):
        with pytest.raises(InvalidInput):
            datasets.crops.set_box(folder, "left.png", box)
    with pytest.raises(NotFound):
        datasets.crops.set_box(folder, "gone.png", (0, 0, 10, 10))
    assert not (folder / CROPS_FILE).exists()
    datasets.crops.set_box(folder, "left.png", (0, 0, 200, 100))
    assert not (folder / CROPS_FILE).exists(), "the whole image needs no crop"


def test_the_check_shows_what_training_will_see(datasets: Datasets, folder: Path) -> None:
    options = CheckOptions(width=64, height=64)
    whole = datasets.check(folder, options).images[0]
    assert (whole.crop, whole.target, whole.warnings[0].kind) == (None, (80, 48), "caption")
    thumbnail = datasets.thumbnails([whole])["left.png"][0]
    datasets.crops.set_box(folder, "left.png", (20, 30, 40, 40))
    found = datasets.check(folder, options)
    cropped = found.images[0]
    assert (cropped.target, cropped.size, cropped.used_size) == ((64, 64), SIZE, (40, 40))
    assert cropped.cut == pytest.approx(0)
    assert cropped.to_json()["crop"] == [20, 30, 40, 40]
    assert "40 × 40 pixels are enlarged 1.6 times to 64 × 64." in " ".join(warning.text for warning in cropped.warnings)
    assert found.buckets == [((64, 64), 1), ((80, 48), 1)]
    assert datasets.thumbnails([whole]) == {}, "the thumbnail of the whole image is no longer that of training"
    assert datasets.thumbnails([cropped])["left.png"][0] != thumbnail
    red = Image.open(io.BytesIO(datasets.picture(cropped)))
    assert red.size == (40, 40)


def test_the_same_file_with_another_crop_is_no_duplicate(datasets: Datasets, folder: Path) -> None:
    noise = Image.effect_noise((256, 256), 80).convert("RGB")
    noise.save(folder / "left.png")
    noise.save(folder / "right.png")
    assert datasets.check(folder).with_warning("duplicate")
    datasets.crops.set_box(folder, "left.png", (0, 0, 128, 128))
    datasets.crops.set_box(folder, "right.png", (128, 128, 128, 128))
    assert not datasets.check(folder).with_warning("duplicate")


def test_a_bad_crop_is_a_warning_of_its_image_alone(datasets: Datasets, folder: Path) -> None:
    (folder / CROPS_FILE).write_text('{"crops": {"left.png": {"left": NaN, "top": 0, "width": 1, "height": 1}}}')
    left, right = datasets.check(folder).images
    assert left.problem.startswith('Its crop in "crops-for-training.json" cannot be used.')
    assert [warning.kind for warning in left.warnings] == ["unreadable"]
    assert not right.problem
    assert dict(datasets.inspect(folder).skipped)["left.png"] == left.problem
    datasets.crops.set_box(folder, "right.png", (0, 0, 50, 50))
    assert set(crops(folder)) == {"left.png", "right.png"}, "what is not understood is kept"
    datasets.crops.set_box(folder, "left.png", (0, 0, 50, 50))
    assert not datasets.check(folder).images[0].problem
    (folder / CROPS_FILE).write_text("{")
    assert all(image.problem for image in datasets.check(folder).images)
    with pytest.raises(UnreadableFile, match="is not JSON"):
        datasets.crops.set_box(folder, "left.png", (0, 0, 50, 50))


def test_crops_are_centred_on_what_stands_out_and_undone_together(
    datasets: Datasets, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(focus, "_face_finder", lambda: focus.msg("No OpenCV."))
    datasets.exclude(folder, ["right.png"])
    changed = datasets.crops.centre(folder, options=SQUARE)
    assert changed.images == ("left.png",)
    assert changed.note == "1 image is centred on its most salient part."
    datasets.exclude(folder, ["right.png"], excluded=False)
    done: list[tuple[int, int]] = []
    datasets.crops.centre(folder, options=SQUARE, progress=lambda *numbers: done.append(numbers))
    assert done == [(1, 2), (2, 2)]
    boxes = {found.name: found.to_json()["crop"] for found in datasets.crops.list(folder)}
    assert all(box[1:] == [0, 100, 100] for box in boxes.values()), "the largest with the shape of the bucket"
    assert boxes["left.png"][0] == 0
    assert boxes["right.png"][0] == 100
    datasets.crops.set_box(folder, "right.png", (0, 0, 60, 40))
    datasets.crops.centre(folder, ["right.png"], SQUARE)
    left, top, width, height = datasets.crops.list(folder, ["right.png"])[0].to_json()["crop"]
    assert (width, height) == (60, 40), "the size of a crop is kept"
    assert abs(left + 30 - 160) < 12
    assert abs(top + 20 - 50) < 12
    for _ in range(4):
        datasets.crops.undo(folder)
    assert not (folder / CROPS_FILE).exists()


def test_faces_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = Image.new("RGB", SIZE, "white")
    ImageDraw.Draw(picture).ellipse((25, 35, 55, 65), fill="red")
    monkeypatch.setattr(focus, "_face_finder", lambda: lambda _grey: [(150.0, 10.0, 20.0, 20.0), (100.0, 20.0, 60.0, 60.0)])
    assert find_focus(picture) == Focus(0.65, 0.5, "face"), "the largest"
    assert crop_around(Focus(0.65, 0.5, "face"), SIZE, (64, 64)).rectangle(SIZE) == [80, 0, 100, 100]
    monkeypatch.setattr(focus, "_face_finder", lambda: lambda _grey: [])
    assert find_focus(picture).kind == "salient"
    assert find_focus(Image.new("RGB", SIZE, "white")) == Focus(0.5, 0.5, "salient")


def test_opencv_finds_the_face_of_a_photograph() -> None:
    pytest.importorskip("cv2")
    if focus.faces_problem():
        pytest.skip(str(focus.faces_problem()))
    cbook = pytest.importorskip("matplotlib.cbook")
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        picture = Image.open(file).convert("RGB")
    found = find_focus(picture)
    assert found.kind == "face"
    assert 0.4 < found.x < 0.65
    assert 0.2 < found.y < 0.45


def test_what_lacks_for_faces_is_one_sentence(monkeypatch: pytest.MonkeyPatch, datasets: Datasets) -> None:
    def without(name: str) -> object:
        raise ModuleNotFoundError(name)

    focus._face_finder.cache_clear()
    try:
        monkeypatch.setattr(focus.importlib, "import_module", without)
        assert datasets.crops.faces_problem() == "Faces are not found, because OpenCV (opencv-python) is not installed."
        focus._face_finder.cache_clear()
        monkeypatch.setattr(focus.importlib, "import_module", lambda _name: object())
        assert "has no face detector" in datasets.crops.faces_problem()
    finally:
        focus._face_finder.cache_clear()


def test_a_new_image_does_not_get_the_crop_of_a_removed_one(datasets: Datasets, fake_host: FakeHost, tmp_path: Path) -> None:
    draw(tmp_path / "a.png", 40)
    folder = datasets.create("cat", [Upload("a.png", tmp_path / "a.png")]).folder
    datasets.crops.set_box(folder, "a.png", (0, 0, 50, 50))
    datasets.remove(folder, ["a.png"])
    datasets.restore(folder)
    assert datasets.crops.list(folder)[0].crop is not None, "a restored image has its crop"
    datasets.remove(folder, ["a.png"])
    draw(tmp_path / "other.png", 160)
    datasets.add(folder, [Upload("a.png", tmp_path / "other.png")])
    assert datasets.crops.list(folder) == []


def test_a_job_centres_crops_and_says_how_far_it_is(datasets: Datasets, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(focus, "_face_finder", lambda: focus.msg("No OpenCV."))
    job = datasets.crop_jobs.start(folder, [], SQUARE)
    assert (job.active, job.done) == (True, 0)
    ended = datasets.crop_jobs.wait(30)
    assert ended is not None
    assert (ended.status, ended.done, ended.images) == ("finished", 2, 2)
    assert ended.changed is not None
    assert ended.changed.images == ("left.png", "right.png")
    assert len(crops(folder)) == 2


def test_a_job_that_is_stopped_changes_nothing(datasets: Datasets, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs, found = datasets.crop_jobs, focus.find_focus

    def stop_meanwhile(image: Image.Image) -> Focus:
        jobs.stop()
        with pytest.raises(Conflict, match="are being centred"):
            jobs.start(folder, [], SQUARE)
        return found(image)

    monkeypatch.setattr(focus, "find_focus", stop_meanwhile)
    jobs.start(folder, [], SQUARE)
    ended = jobs.wait(30)
    assert ended is not None
    assert (ended.status, ended.done, ended.changed) == ("stopped", 1, None)
    assert not (folder / CROPS_FILE).exists()
    jobs.start(folder, ["missing.png"], SQUARE)
    failed = jobs.wait(30)
    assert failed is not None
    assert (failed.status, bool(failed.problem)) == ("failed", True)
