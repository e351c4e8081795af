"""Generating captions: a job in the host's queue that writes caption files, which one undo takes back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from tests.caption_models import make_tagger
from train_embedding.engine.data.exclusions import EXCLUDED_FILE
from train_embedding.errors import Conflict, InvalidInput, NotAllowed, NotFound, UnreadableFile
from train_embedding.services.datasets import CaptionJob, CaptionRequest, Datasets, Existing, auto_captions
from train_embedding.testing import FakeHost

COLOUR = CaptionRequest("colour")
COLOURS = {"a": (10, 20, 30), "b": (1, 2, 3), "with": (200, 0, 0)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for name, colour in COLOURS.items():
        Image.new("RGB", (32, 16), colour).save(folder / f"{name}.png")
    (folder / "with.txt").write_text("a red thing,")
    return folder


@pytest.fixture
def datasets(fake_host: FakeHost) -> Datasets:
    return Datasets(fake_host)


def read(folder: Path) -> dict[str, str]:
    return {file.stem: file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.txt")) if file.name != EXCLUDED_FILE}


def generate(datasets: Datasets, folder: Path, request: CaptionRequest = COLOUR, names: tuple[str, ...] = ()) -> CaptionJob:
    datasets.generate_captions(folder, request, names)
    job = datasets.auto_captions.wait(60)
    assert job is not None
    assert not job.active
    return job


def test_images_without_a_caption_get_one(fake_host: FakeHost, datasets: Datasets, folder: Path) -> None:
    job = generate(datasets, folder)
    assert (job.status, job.images, job.done, job.written, job.kept) == ("finished", 2, 2, 2, 1)
    assert read(folder) == {"a": "10 20 30", "b": "1 2 3", "with": "a red thing,"}
    assert fake_host.jobs == ["Captioning images"]
    assert [(report.step, report.steps) for report in fake_host.reports] == [(0, 2), (1, 2)]


@pytest.mark.parametrize(
    ("request_", "after"),
    [
        (CaptionRequest("colour", existing="replace", prefix="my-cat, "), "my-cat, 200 0 0"),
        (CaptionRequest("colour", existing="append", prefix="my-cat, "), "a red thing, 200 0 0"),
    ],
)
def test_existing_captions_are_replaced_or_continued(
    datasets: Datasets, folder: Path, request_: CaptionRequest, after: str
) -> None:
    generate(datasets, folder, request_)
    assert read(folder) == {"a": "my-cat, 10 20 30", "b": "my-cat, 1 2 3", "with": after}


def test_one_undo_takes_a_whole_job_back(datasets: Datasets, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read(folder)
    monkeypatch.setattr(auto_captions, "SAVE_SECONDS", 0.0)  # each caption is written by itself
    generate(datasets, folder, CaptionRequest("colour", existing="replace"))
    assert datasets.caption_changes(folder) == 1
    assert set(datasets.undo_captions(folder).files) == {"a.txt", "b.txt", "with.txt"}
    assert read(folder) == before


def test_chosen_and_excluded_images(datasets: Datasets, folder: Path) -> None:
    datasets.exclude(folder, ["a.png"])
    generate(datasets, folder)
    assert read(folder).keys() == {"b", "with"}
    generate(datasets, folder, names=("a.png",))
    assert read(folder)["a"] == "10 20 30"


def test_a_damaged_image_is_skipped_with_its_reason(datasets: Datasets, folder: Path) -> None:
    datasets.look(folder)
    file = folder / "a.png"
    file.write_bytes(file.read_bytes()[:60])
    job = generate(datasets, folder)
    assert read(folder).keys() == {"b", "with"}
    assert [name for name, _reason in job.skipped] in ([], ["a.png"])
    assert job.status == "finished"


class SlowHost(FakeHost):
    """Describes each image only after the test allows it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.asked, self.go = threading.Event(), threading.Event()

    @contextmanager
    def interrogate(self, name: str) -> Generator[Callable[[Image.Image], str], None, None]:
        with super().interrogate(name) as describe:

            def slowly(image: Image.Image) -> str:
                self.asked.set()
                assert self.go.wait(30)
                return describe(image)

            yield slowly


def test_a_caption_that_was_changed_meanwhile_is_kept(tmp_path: Path, folder: Path) -> None:
    host = SlowHost(tmp_path)
    datasets = Datasets(host)
    datasets.generate_captions(folder, COLOUR)
    assert host.asked.wait(30)
    (folder / "a.txt").write_text("typed by hand")
    host.go.set()
    job = datasets.auto_captions.wait(30)
    assert job is not None
    assert read(folder) == {"a": "typed by hand", "b": "1 2 3", "with": "a red thing,"}
    assert [(name, "changed in the meantime" in reason) for name, reason in job.skipped] == [("a.png", True)]


@pytest.mark.parametrize("existing", ["keep", "append", "replace"])
def test_a_caption_that_was_typed_before_its_turn_is_kept(tmp_path: Path, folder: Path, existing: Existing) -> None:
    host = SlowHost(tmp_path)
    datasets = Datasets(host)
    datasets.generate_captions(folder, CaptionRequest("colour", existing=existing), ["a.png", "b.png"])
    datasets_of_another_page = Datasets(host)
    assert host.asked.wait(30)
    datasets_of_another_page.write_caption(folder, "b.png", "typed by hand")
    host.go.set()
    job = datasets.auto_captions.wait(30)
    assert job is not None
    assert read(folder) == {"a": "10 20 30", "b": "typed by hand", "with": "a red thing,"}
    assert (job.status, job.done, job.written) == ("finished", 2, 1)
    assert [(name, "changed in the meantime" in reason) for name, reason in job.skipped] == [("b.png", True)]


def test_a_caption_file_that_cannot_be_read_is_left(datasets: Datasets, folder: Path) -> None:
    (folder / "a.txt").mkdir()
    job = generate(datasets, folder, CaptionRequest("colour", existing="replace"))
    assert (job.status, job.images, job.done, job.written) == ("finished", 3, 3, 2)
    assert [name for name, _reason in job.skipped] == ["a.png"]


@pytest.mark.parametrize("how", ["stop", "interrupt"])
def test_a_stopped_job_keeps_what_was_generated(tmp_path: Path, folder: Path, how: str) -> None:
    host = SlowHost(tmp_path)
    datasets = Datasets(host)
    datasets.generate_captions(folder, COLOUR)
    assert host.asked.wait(30)
    with pytest.raises(Conflict, match="are being generated"):
        datasets.generate_captions(folder, COLOUR)
    if how == "stop":
        stopping = datasets.auto_captions.stop()
        assert stopping is not None
        assert stopping.status == "stopping"
    else:
        host.press_interrupt()
    host.go.set()
    job = datasets.auto_captions.wait(30)
    assert job is not None
    assert (job.status, job.written) == ("stopped", 1)
    said = f"The Interrupt or Interrogate button of {host.info().name} has stopped the captions."
    assert job.problem == ("" if how == "stop" else said)
    assert read(folder) == {"a": "10 20 30", "with": "a red thing,"}


def test_a_model_of_a_folder(datasets: Datasets, folder: Path, tmp_path: Path) -> None:
    Image.new("RGB", (32, 32), (255, 0, 0)).save(folder / "a.png")
    generate(datasets, folder, CaptionRequest(model_folder=make_tagger(tmp_path / "tagger")))
    assert read(folder)["a"] == "o_o"


def test_an_image_that_the_model_has_no_words_for_is_skipped(datasets: Datasets, folder: Path, tmp_path: Path) -> None:
    Image.new("RGB", (16, 16)).save(folder / "b.png")
    job = generate(datasets, folder, CaptionRequest(model_folder=make_tagger(tmp_path / "tagger")), ("b.png",))
    assert job.skipped == (("b.png", "The model returned no description."),)
    assert (job.status, job.done, read(folder).keys()) == ("finished", 1, {"with"})


def test_a_model_that_cannot_be_used_fails_with_the_reason(datasets: Datasets, folder: Path) -> None:
    job = generate(datasets, folder, CaptionRequest("missing"))
    assert (job.status, str(job.problem)) == ("failed", 'The interrogator "missing" cannot be used.')
    assert read(folder) == {"with": "a red thing,"}
    assert generate(datasets, folder).status == "finished"


def test_requests_that_are_not_valid(tmp_path: Path, datasets: Datasets, folder: Path) -> None:
    (tmp_path / "empty").mkdir()
    for request, error, text in (
        (CaptionRequest(), InvalidInput, "either an interrogator or the folder"),
        (CaptionRequest("colour", tmp_path), InvalidInput, "either an interrogator or the folder"),
        (CaptionRequest("colour", prefix="{a"), InvalidInput, "brace"),
        (CaptionRequest(model_folder=tmp_path / "none"), NotFound, "does not exist"),
        (CaptionRequest(model_folder=tmp_path / "empty"), UnreadableFile, "has no caption model"),
    ):
        with pytest.raises(error, match=text):
            datasets.generate_captions(folder, request)
    with pytest.raises(NotFound, match=r"no image \"none\.png\""):
        datasets.generate_captions(folder, COLOUR, ["none.png"])
    assert datasets.auto_captions.job is None


def test_a_shared_server_reads_models_only_in_its_folders(tmp_path: Path, folder: Path) -> None:
    outside = make_tagger(tmp_path / "outside")
    datasets = Datasets(FakeHost(tmp_path / "data", allowed_folders=(folder,)))
    with pytest.raises(NotAllowed):
        datasets.generate_captions(folder, CaptionRequest(model_folder=outside))
