"""The queue on the sub-tab Runs, and the button that adds a training, over a host without a trainable model."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio")

from PIL import Image

from train_embedding.engine.config.spec import TrainingSpec
from train_embedding.services import Services
from train_embedding.ui import fields

Handler = Callable[[str], Callable[..., Any]]
Components = dict[str, Any]
IDS = ("list", "status", "undo", "pause", "continue", "clear", "version", "update", "order", "carry_out", "removed")
ROWS = re.compile(r'data-entry="(\d+)"')


@pytest.fixture
def images(services: Services, tmp_path: Path) -> Path:
    """A dataset, and embeddings a, b and c."""
    folder = tmp_path / "cat"
    folder.mkdir()
    Image.new("RGB", (64, 64)).save(folder / "1.png")
    for name in "abc":
        services.library.create(name, "cat", 1)
    return folder


def fill(services: Services, images: Path, *names: str) -> None:
    for name in names:
        services.queue.add(TrainingSpec.from_json({"embedding": name, "dataset": str(images), "steps": 7}))


def rows(updates: Any, components: Components) -> list[str]:
    return ROWS.findall(updates[components["te_queue_list"]])


def test_element_ids(components: Components) -> None:
    assert [name for name in IDS if f"te_queue_{name}" not in components] == []
    assert {"te_queue", "te_train_enqueue", "te_train_queue"} <= set(components)


def test_the_fields_of_the_train_panel_are_added(
    handler: Handler, components: Components, services: Services, images: Path
) -> None:
    widgets = {name: components[fields.elem_id(name)] for name in fields.BY_NAME}
    values = {**fields.initial_values({}), "embedding": "a", "dataset": str(images), "steps": 7.0}
    raw = {widget: fields.widget_value(name, values[name]) for name, widget in widgets.items()}
    raw[components["te_train_kind"]] = "subject"
    said = handler("add_to_queue")(raw)[components["te_train_status"]]
    assert "Added a to the queue, at position 1." in said
    (entry,) = services.queue.contents().entries
    assert (entry.spec.embedding, entry.spec.steps, entry.changed) == ("a", 7, {"steps": 7})
    assert services.settings.load()["steps"] == 7
    refused = handler("add_to_queue")({**raw, widgets["embedding"]: "nobody"})
    assert "There is no embedding &#34;nobody&#34;." in refused[components["te_train_status"]]
    refused = handler("add_to_queue")({**raw, widgets["dataset"]: ""})
    assert "No dataset is given." in refused[components["te_train_status"]]
    assert len(services.queue.contents().entries) == 1


def test_the_list_shows_each_training_with_its_settings(
    handler: Handler, components: Components, services: Services, images: Path
) -> None:
    assert "The queue is empty." in handler("update_queue")()[components["te_queue_list"]]
    fill(services, images, "a", "b")
    updates = handler("update_queue")()
    shown = updates[components["te_queue_list"]]
    assert rows(updates, components) == ["1", "2"]
    for fact in ("2 jobs waiting", "Next", "Waiting", "Steps: 7", "cat", f'data-version="{services.queue.version()}"'):
        assert fact in shown, fact


def test_of_very_many_trainings_the_next_ones_are_listed(
    handler: Handler, components: Components, services: Services, images: Path
) -> None:
    fill(services, images, "a")
    entry = services.queue.get("1")
    many = tuple(replace(entry, id=str(number)) for number in range(1, 131))
    services.queue._file.change(lambda contents: replace(contents, entries=many))
    updates = handler("update_queue")()
    assert rows(updates, components) == [str(number) for number in range(1, 101)]
    assert "130 jobs waiting" in updates[components["te_queue_list"]]
    assert "… and 30 more" in updates[components["te_queue_list"]]


def test_rows_move_leave_and_return(handler: Handler, components: Components, services: Services, images: Path) -> None:
    fill(services, images, "a", "b", "c")
    change, status = handler("change_queue"), components["te_queue_status"]
    assert rows(change("up 3"), components) == ["1", "3", "2"]
    assert rows(change("down 1"), components) == ["3", "1", "2"]
    assert rows(change("up 3"), components) == ["3", "1", "2"]
    removed = change("remove 1")
    assert rows(removed, components) == ["3", "2"]
    assert "te-deleted" in removed[status]
    assert rows(handler("undo_removal")(removed[components["te_queue_removed"]]), components) == ["3", "2", "1"]
    for order in ("remove 9", "dance 1", ""):
        assert list(change(order)) == [status]


def test_a_failed_training_says_why_and_is_tried_again(
    handler: Handler, components: Components, services: Services, images: Path
) -> None:
    fill(services, images, "a", "b")
    services.library.delete("a")
    with services.queue.work():
        services.queue._worker._begin(services.queue.get("1"))
    updates = handler("update_queue")()
    assert rows(updates, components) == ["2", "1"], "what is over comes last"
    assert "There is no embedding &#34;a&#34;." in updates[components["te_queue_list"]]
    assert rows(handler("change_queue")("retry 1"), components) == ["2", "1"]
    assert services.queue.get("1").status == "waiting"


def test_the_queue_is_paused_continued_and_cleared(
    handler: Handler, components: Components, services: Services, images: Path
) -> None:
    fill(services, images, "a")
    paused = handler("pause_queue")()
    assert "The queue is paused." in paused[components["te_queue_list"]]
    assert paused[components["te_queue_continue"]]["interactive"] is True
    assert services.queue.contents().paused
    line = handler("poll")(None, "")[components["te_train_queue"]]
    assert "1 job waiting in the queue: a" in line
    assert "on the sub-tab" in line
    assert "The queue is paused." not in handler("continue_queue")()[components["te_queue_list"]]
    assert not services.queue.contents().paused
    assert "No job has ended yet." in handler("clear_queue")()[components["te_queue_status"]]
    services.queue._file.change(lambda contents: contents.map(lambda entry: replace(entry, status="finished")))
    assert "Removed 1 job from the list." in handler("clear_queue")()[components["te_queue_status"]]


def test_every_page_is_told_that_the_queue_has_changed(
    handler: Handler, components: Components, services: Services, images: Path
) -> None:
    version = components["te_queue_version"]
    before = handler("poll")(None, "")[version]
    Services(services.host).queue.add(TrainingSpec.from_json({"embedding": "a", "dataset": str(images)}))
    assert handler("poll")(None, "")[version] != before
