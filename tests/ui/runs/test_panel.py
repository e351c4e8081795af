"""The Runs panel over runs of earlier processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("gradio")

from tests.run_folders import FIRST, stored_preview, stored_run
from train_embedding.services import Services
from train_embedding.ui import fields
from train_embedding.ui.runs.panel import PAGE

Handler = Callable[[str], Callable[..., Any]]
Components = dict[str, Any]
IDS = (
    "search", "list", "more", "status", "details", "note", "save_note", "use", "resume", "delete", "undo", "deleted", "selected",
    "select", "shown", "version", "update",
)  # fmt: skip


def run_id(number: int) -> str:
    return f"20261101-{number:06d}-000"


def test_element_ids(components: Components) -> None:
    assert [name for name in IDS if f"te_runs_{name}" not in components] == []
    assert {"te_runs", "te_tab_runs"} <= set(components)


def test_the_list_shows_each_run_with_its_preview_and_note(handler: Handler, components: Components, services: Services) -> None:
    stored_preview(stored_run(services.host, spec={"embedding": "c&t"}, checkpoint="<b>"))
    services.runs.set_note(FIRST, "the <best>")
    updates = handler("update_runs")("", str(PAGE), "")
    cards = updates[components["te_runs_list"]]
    assert f'data-run="{FIRST}"' in cards
    assert "c&amp;t" in cards
    assert "the &lt;best&gt;" in cards
    assert "data:image/jpeg;base64," in cards
    assert f'data-version="{services.runs.history_version()}"' in cards
    assert components["te_runs_details"] not in updates
    assert "&lt;b&gt;" in handler("select_run")(FIRST)[components["te_runs_details"]]


def test_the_poll_tells_that_the_history_has_changed(handler: Handler, components: Components, services: Services) -> None:
    version = components["te_runs_version"]
    before = handler("poll")(None, "")[version]
    stored_run(services.host)
    assert handler("poll")(None, "")[version] != before


def test_many_runs_are_shown_in_pages_and_found(handler: Handler, components: Components, services: Services) -> None:
    for number in range(PAGE + 5):
        stored_run(services.host, run_id(number), {"embedding": f"cat-{number}"})
    cards, more, shown = (components[f"te_runs_{name}"] for name in ("list", "more", "shown"))
    first = handler("update_runs")("", str(PAGE), "")
    assert first[cards].count("data-run=") == PAGE
    assert run_id(PAGE + 4) in first[cards]
    assert first[more]["interactive"] is True
    second = handler("show_more_runs")("", first[shown])
    assert second[cards].count("data-run=") == PAGE + 5
    assert second[more]["interactive"] is False
    found = handler("search_runs")("CAT-34")
    assert found[cards].count("data-run=") == 1
    assert "No run matches the search." in handler("search_runs")("dog")[cards]


def test_a_selected_run_is_described(handler: Handler, components: Components, services: Services) -> None:
    stored_run(services.host, spec={"batch_size": 7}, status="stopped", step=20, checkpoint="model")
    services.runs.set_note(FIRST, "good")
    updates = handler("select_run")(FIRST)
    details = updates[components["te_runs_details"]]
    for fact in ("model", "/images/cat", "step 20 of 40", "140", "Batch size"):
        assert fact in details, fact
    assert updates[components["te_runs_note"]] == "good"
    assert updates[components["te_runs_resume"]]["interactive"] is True
    finished = stored_run(services.host, run_id(1))
    assert handler("select_run")(finished.id)[components["te_runs_resume"]]["interactive"] is False


def test_settings_are_used_again(handler: Handler, components: Components, services: Services) -> None:
    stored_run(services.host, spec={"batch_size": 7, "seed": 9, "template": ["a [name]", "the [name]"]})
    updates = handler("use_run")(FIRST)
    shown = {name: updates[components[fields.elem_id(name)]]["value"] for name in ("embedding", "dataset", "batch_size", "seed")}
    assert shown == {"embedding": "my-cat", "dataset": "/images/cat", "batch_size": 7, "seed": 9}
    assert updates[components["te_train_template"]]["value"] == "a [name]\nthe [name]"
    assert updates[components["te_tabs"]]["selected"] == "te_tab_train"


def test_a_note_is_saved_and_a_deletion_undone(handler: Handler, components: Components, services: Services) -> None:
    stored_run(services.host)
    assert "Note saved." in handler("save_run_note")(FIRST, "fine")[components["te_runs_status"]]
    deleted = handler("delete_run")(FIRST)
    assert "te-deleted" in deleted[components["te_runs_status"]]
    assert services.runs.history() == []
    restored = handler("undo_run")(deleted[components["te_runs_deleted"]])
    assert restored[components["te_runs_note"]] == "fine"
    assert restored[components["te_runs_selected"]] == FIRST
    assert len(services.runs.history()) == 1


@pytest.mark.parametrize("name", ["save_run_note", "resume_run", "delete_run", "use_run"])
def test_a_run_must_be_selected_first(handler: Handler, components: Components, name: str) -> None:
    values = ("", "text") if name == "save_run_note" else ("",)
    updates = handler(name)(*values)
    assert list(updates) == [components["te_runs_status"]]
    assert "No run is selected." in updates[components["te_runs_status"]]
