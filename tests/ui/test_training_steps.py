"""What the three steps of the sub-tab Train say, and the images that are dropped there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from train_embedding.engine.config.spec import TrainingSpec
from train_embedding.hosts.base import OTHER_FAMILY
from train_embedding.services import Services
from train_embedding.services.run_records import RunState
from train_embedding.services.training.step_times import StepTime, add_step_time
from train_embedding.ui import fields
from train_embedding.ui.training import progress

Handler = Callable[[str], Callable[..., Any]]
Components = dict[str, Any]


def states(handler: Handler, components: Components, **changes: Any) -> tuple[str, str, str]:
    """The states of the first and the third step, and the estimate."""
    values = {**fields.DEFAULTS, **changes}
    kind = values.pop("kind", "subject")
    given = {components["te_train_kind"]: kind}
    given |= {components[fields.elem_id(name)]: fields.widget_value(name, value) for name, value in values.items()}
    shown = handler("show_states")(given)
    places = ("te_step_embedding_state", "te_step_training_state", "te_train_estimate")
    first, third, estimate = (str(shown[components[place]]) for place in places)
    return first, third, estimate


def images(
    handler: Handler, components: Components, folder: str, teacher_prompt: str = "", kind: str = "subject"
) -> tuple[str, str]:
    """The state of the second step, and its strip."""
    shown = handler("show_images")(kind, folder, teacher_prompt, 0, 0, True, "crop", "auto", False, "[name]", "my-cat")
    return str(shown[components["te_step_images_state"]]), str(shown[components["te_train_dataset_check"]])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "cats"
    found.mkdir()
    for number in range(2):
        Image.new("RGB", (64, 64), (90 * number, 0, 0)).save(found / f"{number}.png")
    return found


def test_each_step_says_what_is_missing(handler: Handler, components: Components, folder: Path) -> None:
    first, third, _ = states(handler, components, embedding="")
    assert "Choose or create an embedding." in first
    assert "Choose an embedding in step 1 first." in third
    assert "Choose a dataset, or drop images here." in images(handler, components, "")[0]
    assert "There is no embedding" in states(handler, components, embedding="nobody")[0]
    handler("create")("my-cat", "cat", "2", False, "tokens")
    first, third, _ = states(handler, components, embedding="my-cat", dataset="")
    assert "✓ </span>my-cat, 2 vectors, SD1, untrained" in first
    assert "Choose images in step 2 first." in third
    state, strip = images(handler, components, str(folder))
    assert "✓ </span>cats: 2 images" in state
    assert "2 images" in strip
    assert strip.count('title="') == 2
    assert "Ready to train my-cat." in states(handler, components, embedding="my-cat", dataset=str(folder))[1]


def test_a_checkpoint_that_cannot_be_trained_on(
    handler: Handler, components: Components, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services.host, "why_no_training", OTHER_FAMILY)
    assert OTHER_FAMILY in states(handler, components, embedding="")[1]


def test_a_packed_prompt_needs_no_images(handler: Handler, components: Components) -> None:
    handler("create")("my-cat", "cat", "2", False, "tokens")
    assert "Enter the prompt to pack." in images(handler, components, "", "", "prompt")[0]
    assert "a prompt is packed" in images(handler, components, "", "a long text", "prompt")[0]
    assert "pack in step 2 first" in states(handler, components, kind="prompt", embedding="my-cat", dataset="/x")[1]
    assert "Ready" in states(handler, components, kind="prompt", embedding="my-cat", teacher_prompt="a long text")[1]


def test_only_what_the_kind_uses_is_trained_on(
    handler: Handler, components: Components, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[TrainingSpec] = []
    monkeypatch.setattr(services.runs, "start", started.append)
    given = {components[fields.elem_id(name)]: fields.widget_value(name, value) for name, value in fields.DEFAULTS.items()}
    both = {"embedding": "my-cat", "dataset": "/cats", "teacher_prompt": "a long text"}
    given |= {components[fields.elem_id(name)]: value for name, value in both.items()}
    for kind in ("prompt", "subject"):
        handler("start")({**given, components["te_train_kind"]: kind})
    assert [(spec.dataset, spec.teacher_prompt) for spec in started] == [("", "a long text"), ("/cats", "")]
    empty = {**given, components["te_train_teacher_prompt"]: " ", components["te_train_kind"]: "prompt"}
    assert "No prompt to pack is given." in str(handler("start")(empty)[components["te_train_status"]])


def test_the_second_step_shows_what_the_kind_needs(handler: Handler, components: Components) -> None:
    images_shown, prompt_shown = handler("show_source")("prompt")
    assert (images_shown["visible"], prompt_shown["visible"]) == (False, True)
    cleared = handler("fill_kind")("prompt")
    assert cleared[components["te_train_dataset"]]["value"] is None
    decided = ("a photo of [name]", "", "")
    assert handler("show_kind")("prompt", *decided) == "prompt"
    assert handler("use_images")("prompt", "cats", *decided) != "prompt"
    assert "value" not in handler("use_images")("prompt", "", *decided)
    assert handler("show_filled_kind")("", "a long text", *decided) == "prompt"
    assert handler("show_filled_kind")("cats", "a long text", *decided) != "prompt"


def test_a_run_is_named_while_it_is_active(
    handler: Handler, components: Components, services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = RunState("1", "other", tmp_path, TrainingSpec("other", "/images"), status="running")
    monkeypatch.setattr(services.runs, "current", lambda: state)
    assert "Training other. The next training can be added to the queue." in states(handler, components, embedding="my-cat")[1]


def test_the_estimate_follows_the_fields(handler: Handler, components: Components, services: Services) -> None:
    options = {"early_stopping": False, "eval_every": 0, "preview_every": 0, "batch_size": 2}
    assert "has been measured on this computer yet" in states(handler, components, **options)[2]
    info = services.host.info()
    kind = (info.widths, info.resolution, info.device, info.dtype, info.resolution, info.resolution)
    add_step_time(info.runs_folder, StepTime("2026-11-28", "a checkpoint", *kind, 2, False, step=0.5))
    assert "About 100 s" not in states(handler, components, **options, steps=120)[2]
    assert "About 60 s for 120 steps." in states(handler, components, **options, steps=120)[2]
    assert "About 4 min for 120 steps." in states(handler, components, **{**options, "batch_size": 8}, steps=120)[2]
    assert states(handler, components, steps=0)[2] == "", "the button says what is wrong"


def test_a_folder_that_cannot_be_used_says_why(handler: Handler, components: Components, tmp_path: Path) -> None:
    state, strip = images(handler, components, str(tmp_path / "<b>none"))
    assert "This dataset cannot be used." in state
    assert "&lt;b&gt;none" in strip
    (tmp_path / "empty").mkdir()
    assert "There are no images" in images(handler, components, str(tmp_path / "empty"))[1]


def test_unusable_images_and_notes_are_named(handler: Handler, components: Components, folder: Path) -> None:
    (folder / "<b>.png").write_bytes(b"x")
    (folder / "3_more").mkdir()
    Image.new("RGB", (8, 8)).save(folder / "3_more" / "a.png")
    strip = images(handler, components, f" {folder} ")[1]
    assert "2 images, 1 skipped" in strip
    assert "&lt;b&gt;.png: It is not an image" in strip
    assert "Images in the subfolder 3_more are not used." in strip


def test_dropped_images_become_a_dataset(handler: Handler, components: Components, services: Services, folder: Path) -> None:
    files = [str(file) for file in sorted(folder.glob("*.png"))]
    added = handler("add_training_images")(files[:1], "", "", "my-cat", "")
    chosen = added[components["te_train_dataset"]]
    assert (chosen["value"], chosen["choices"]) == ("my-cat", ("my-cat",))
    handler("add_training_images")(files[1:], "", "", "my-cat", "")
    assert [(one.name, one.images) for one in services.datasets.list()] == [("my-cat", 2)], "into that of the same name"
    handler("add_training_images")(files[:1], '["again.png"]', "", "", "another")
    handler("add_training_images")(files[1:], "", "another", "my-cat", "")
    handler("add_training_images")(files[1:], "", None, None, "")
    assert [(one.name, one.images) for one in services.datasets.list()] == [("another", 2), ("images", 1), ("my-cat", 2)]
    refused = handler("add_training_images")([], "", "", "my-cat", "")
    assert "No files were given." in refused[components["te_train_images_status"]]


def test_the_saved_step_is_drawn_in_the_curve(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    run = RunState(
        "1", "my-cat", tmp_path, TrainingSpec("my-cat", "/images"), status="finished", losses=((1, 0.3), (9, 0.1)), saved_step=6
    )
    frame = progress._frame(run)
    assert [tuple(row) for row in frame[frame["curve"] == "Saved step 6"].values] == [
        (6, 0.1, "Saved step 6"),
        (6, 0.3, "Saved step 6"),
    ]
