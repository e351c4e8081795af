"""Automatic captions in the Dataset panel, by an interrogator and by a caption model of a folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio")

from PIL import Image

from tests.caption_models import make_tagger
from tests.ui.datasets.test_panel import seen
from tests.ui.reading import EVIL
from train_embedding.services import Services
from train_embedding.services.datasets import CaptionJob, Upload
from train_embedding.services.datasets.auto_captions import AutoCaptions
from train_embedding.ui.datasets import auto_captions

FOLDER = "Model in a folder"
KEEP, REPLACE = "keep", "replace"
Handler = Callable[[str], Callable[..., Any]]


@pytest.fixture
def blue(services: Services, tmp_path: Path) -> str:
    files = [tmp_path / "a.png", tmp_path / "b.png", tmp_path / "b.txt"]
    for file in files[:2]:
        Image.new("RGB", (16, 16), "blue").save(file)
    files[2].write_text("a blue square")
    return str(services.datasets.create("blue", [Upload(file.name, file) for file in files]).folder.resolve())


def read(folder: str) -> dict[str, str]:
    return {file.stem: file.read_text() for file in Path(folder).glob("*.txt")}


def test_an_interrogator_describes_images_without_a_caption(
    services: Services, handler: Handler, components: dict[str, Any], blue: str
) -> None:
    generate = handler("generate_captions")
    updates = generate(blue, "", "The mean colour", "", KEEP, "my-cat, ", False, *seen())
    assert updates[components["te_dataset_auto_stop"]]["interactive"]
    assert "blue" in updates[components["te_dataset_auto_progress"]]
    services.datasets.auto_captions.wait(30)
    assert read(blue) == {"a": "my-cat, 0 0 255", "b": "a blue square"}


def test_a_model_of_a_folder_replaces_captions_and_is_remembered(
    services: Services, handler: Handler, components: dict[str, Any], blue: str, tmp_path: Path
) -> None:
    folder = str(make_tagger(tmp_path / "tagger"))
    handler("generate_captions")(blue, "", FOLDER, folder, REPLACE, "", False, *seen())
    services.datasets.auto_captions.wait(30)
    assert read(blue) == {"a": "blue sky", "b": "blue sky"}
    assert services.settings.load()["caption_model_folder"] == folder
    undone = handler("undo_captions")(blue, "", *seen())
    assert "Restored 2 captions" in undone[components["te_dataset_status"]]
    assert read(blue) == {"b": "a blue square"}


def test_without_a_model_nothing_starts(services: Services, handler: Handler, components: dict[str, Any], blue: str) -> None:
    updates = handler("generate_captions")(blue, "", FOLDER, " ", KEEP, "", False, *seen())
    assert "No caption model is selected." in updates[components["te_dataset_auto_progress"]]
    assert services.datasets.auto_captions.job is None


def test_the_page_says_which_interrogators_can_be_used_and_why_not(
    services: Services, handler: Handler, components: dict[str, Any]
) -> None:
    updates = handler("poll")(None, "")
    assert updates[components["te_dataset_auto_model"]]["choices"] == ["The mean colour", FOLDER]
    assert "Its model has not been downloaded." in updates[components["te_dataset_auto_problems"]]
    assert updates[components["te_dataset_auto_progress"]] == ""


def test_the_poll_follows_the_job_and_shows_new_captions(
    services: Services, handler: Handler, components: dict[str, Any], blue: str
) -> None:
    poll = handler("poll")
    before = poll(None, "")
    known = next(value for value in before.values() if isinstance(value, dict) and "dataset" not in value and "captions" in value)
    handler("generate_captions")(blue, "", "The mean colour", "", KEEP, "", False, *seen())
    services.datasets.auto_captions.wait(30)
    after = poll(known, "yes")
    assert "1 caption written" in after[components["te_dataset_auto_progress"]]
    assert after[components["te_dataset_version"]]
    assert not after[components["te_dataset_auto_stop"]]["interactive"]


def test_the_dataset_is_read_again_only_when_captions_were_written(
    services: Services, handler: Handler, components: dict[str, Any], blue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    poll, job = handler("poll"), CaptionJob(Path(blue), "running", 9, 1, 1)
    known: dict[str, Any] = {}

    def outdates(**changes: Any) -> bool:
        nonlocal job, known
        job = replace(job, **changes)
        updates = poll(known, "yes")
        known = next(value for value in updates.values() if isinstance(value, dict) and "written captions" in value)
        return components["te_dataset_version"] in updates

    monkeypatch.setattr(AutoCaptions, "job", property(lambda _self: job))
    assert outdates(written=1)
    assert not outdates(done=2)
    assert outdates(done=3, written=3)
    assert not outdates(done=4, last=("a.png", "blue"))
    assert outdates(status="finished")
    Path(blue).rename(f"{blue}-elsewhere")
    assert outdates(written=4)


def test_what_a_model_says_is_text(tmp_path: Path) -> None:
    job = CaptionJob(tmp_path / EVIL.replace("/", ""), "running", 2, 1, last=(EVIL, EVIL), skipped=((EVIL, EVIL),))
    assert EVIL not in auto_captions.progress(job)
    assert "&lt;" in auto_captions.progress(job)
