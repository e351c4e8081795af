"""The tab: its element ids, and its handlers over a host without a model."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio")

import gradio as gr
from PIL import Image

from tests.event_loops import inside_a_loop
from train_embedding.engine.config.spec import TrainingSpec
from train_embedding.errors import StorageFailed
from train_embedding.services import Services
from train_embedding.services.kinds import DECIDED
from train_embedding.services.run_records import RunState
from train_embedding.ui import fields, gradio_compat
from train_embedding.ui.error_handling import errors_in
from train_embedding.ui.library.panel import LibraryVersion
from train_embedding.ui.tab import build
from train_embedding.ui.training import panel as train_panel
from train_embedding.ui.training import progress

CREATE = ("name", "init_text", "start", "vectors", "overwrite", "button", "status", "budget")
TRAIN = (
    "embedding", "dataset", "dataset_check", "preset", "steps", "learning_rate", "batch_size",
    "button", "stop", "progress", "plot", "gallery", "status", "pictures", "poll",
)  # fmt: skip
LIBRARY = (
    "refresh", "update", "import", "toolbar", "cards", "status", "details", "selected", "select", "wanted", "draw", "pictures",
    "uploaded", "chosen", "mix", "tokenizer", "trash",
)  # fmt: skip
IDS = [
    *(f"te_create_{name}" for name in CREATE),
    *(f"te_train_{name}" for name in TRAIN),
    *(f"te_library_{name}" for name in LIBRARY),
    "te_cards_version", "te_tabs", "te_tab_train", "te_tab_library",
]  # fmt: skip

Handler = Callable[[str], Callable[..., Any]]
Components = dict[str, Any]


def value_of(update: Any) -> Any:
    return update["value"] if isinstance(update, dict) else update


def test_element_ids(components: Components) -> None:
    assert [name for name in IDS if name not in components] == []
    assert [name for name in fields.BY_NAME if fields.elem_id(name) not in components] == []


def test_hidden_components_stay_in_the_page(components: Components) -> None:
    assert all(components[name].visible for name in IDS)


def test_the_webui_keeps_its_own_defaults_away(blocks: Any) -> None:
    assert all(component.do_not_save_to_config for component in blocks.blocks.values())


def test_create(handler: Handler, components: Components, services: Services) -> None:
    updates = handler("create")("my-cat", "a red cat", "auto", False, "tokens")
    assert "Created my-cat with 3 vectors." in updates[components["te_create_status"]]
    assert value_of(updates[components["te_train_embedding"]]) == "my-cat"
    assert services.library.get("my-cat").vectors == 3
    assert services.settings.load()["create_vectors"] == "auto"


def test_create_warns_of_programs_that_cannot_call_the_name(handler: Handler, components: Components) -> None:
    updates = handler("create")("my cat", "a red cat", "auto", False, "tokens")
    assert "as a trigger word in some programs: ComfyUI (no spaces allowed)." in updates[components["te_create_status"]]


@pytest.mark.parametrize(
    ("name", "vectors", "sentence"),
    [
        ("a:b", "1", "contains &#39;:&#39;"),
        ("", "1", "The name is empty."),
        ("my-cat", "0", "it must be a whole number from 1 to 75"),
        ("my-cat", "76", "it must be a whole number from 1 to 75"),
        ("my-cat", "<b>", "&lt;b&gt;"),
        (" my-cat", "1", "begins or ends with a space"),
    ],
)
def test_create_says_what_is_wrong(
    handler: Handler, components: Components, services: Services, name: str, vectors: str, sentence: str
) -> None:
    updates = handler("create")(name, "cat", vectors, False, "tokens")
    assert list(updates) == [components["te_create_status"]]
    assert sentence in updates[components["te_create_status"]]
    assert services.library.list() == []


def test_an_existing_name_needs_overwrite(handler: Handler, components: Components, services: Services) -> None:
    status = components["te_create_status"]
    handler("create")("my-cat", "cat", "1", False, "tokens")
    assert (
        "There is already an embedding &#34;my-cat&#34;."
        in handler("create")("my-cat", "two words", "auto", False, "tokens")[status]
    )
    assert services.library.get("my-cat").vectors == 1
    assert "Created" in handler("create")("my-cat", "two words", "auto", True, "tokens")[status]
    assert services.library.get("my-cat").vectors == 2


def test_poll_sends_everything_once_and_then_only_what_changed(
    handler: Handler, components: Components, services: Services
) -> None:
    [seen] = [component for component in handler("poll")(None, "") if isinstance(component, gr.State)]
    first = handler("poll")(None, "")
    shown = {component.elem_id for component in first} - {None}
    assert shown >= {
        "te_train_progress",
        "te_train_status",
        "te_train_plot",
        "te_train_gallery",
        "te_cards_version",
    }
    assert list(handler("poll")(first[seen], "yes")) == [seen]
    handler("create")("my-cat", "cat", "1", False, "tokens")
    second = handler("poll")(first[seen], "yes")
    assert {component.elem_id for component in second} - {None} == {"te_cards_version"}
    before, after = (updates[components["te_cards_version"]].split("-") for updates in (first, second))
    assert re.fullmatch("[0-9a-f]{8}", before[0])
    assert before[0] == after[0]
    assert int(before[1]) < int(after[1])
    assert list(handler("poll")(second[seen], "yes")) == [seen]


def test_cards_and_choices_come_when_they_are_asked_for(handler: Handler, components: Components, blocks: Any) -> None:
    handler("create")("my-cat", "cat", "1", False, "tokens")
    updates = handler("update")("")
    assert "my-cat" in updates[components["te_library_cards"]]
    assert updates[components["te_train_embedding"]]["choices"] in (["my-cat"], [("my-cat", "my-cat")])
    version = handler("poll")(None, "")[components["te_cards_version"]]
    assert f'data-version="{version}"' in updates[components["te_library_cards"]]


def test_the_poll_has_no_output_that_thousands_of_names_make_large(blocks: Any, components: Components) -> None:
    """gradio clones every output of an event, once a second here."""
    large = {components[name]._id for name in ("te_library_cards", "te_train_embedding", "te_library_trashed")}
    polls = [
        event["outputs"] for event in blocks.config["dependencies"] if components["te_train_progress"]._id in event["outputs"]
    ]
    assert polls
    assert not large & {number for outputs in polls for number in outputs}


def test_poll_shows_a_run(
    handler: Handler, components: Components, services: Services, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    previews = []
    for step in (0, 100):
        previews.append(tmp_path / f"step-{step:06}.png")
        Image.new("RGB", (8, 8), "red").save(previews[-1])
    run = RunState(
        "7",
        "my-cat",
        tmp_path,
        TrainingSpec("my-cat", "/pictures"),
        status="running",
        step=120,
        steps=400,
        losses=((60, 0.5), (120, 0.4)),
        previews=tuple(previews),
    )
    monkeypatch.setattr(services.runs, "current", lambda: run)
    updates = handler("poll")(None, "")
    assert 'data-active="true"' in updates[components["te_train_progress"]]
    assert value_of(updates[components["te_train_plot"]])["loss"].tolist() == [0.5, 0.4]
    assert [caption for _, caption in updates[components["te_train_gallery"]]] == ["step 0", "step 100"]
    assert updates[components["te_train_stop"]]["interactive"] is True


def test_a_page_that_opens_gets_the_last_used_values(handler: Handler, components: Components, services: Services) -> None:
    services.settings.save(TrainingSpec("my-cat", "/pictures", steps=77).to_json())
    updates = handler("poll")(None, "")
    assert value_of(updates[components["te_train_steps"]]) == 77
    assert components["te_train_batch_size"] not in updates
    first = handler("update")("")
    assert value_of(first[components["te_train_embedding"]]) == "my-cat"
    later = handler("update")(first[components["te_library_shown"]])
    assert "value" not in later[components["te_train_embedding"]], "what was chosen since is kept"


def test_a_page_that_the_server_has_forgotten_keeps_what_was_typed(
    handler: Handler, components: Components, services: Services
) -> None:
    opened = handler("poll")(None, "")[components["te_page_opened"]]
    services.settings.save(TrainingSpec("my-cat", "/pictures", steps=77).to_json())
    updates = handler("poll")(None, opened)
    assert components["te_train_progress"] in updates
    assert components["te_cards_version"] in updates
    filled_in = {fields.elem_id(name) for name in fields.BY_NAME}
    assert [field.elem_id for field, update in updates.items() if field.elem_id in filled_in and "value" in update] == []


@pytest.mark.parametrize(("handler_name", "field"), [("poll", "te_page_opened"), ("update", "te_library_shown")])
def test_whether_a_page_is_new_lies_in_the_page(blocks: Any, components: Components, handler_name: str, field: str) -> None:
    """A State would lie on the server, and be gone while the page is still there."""
    functions = blocks.fns.values() if isinstance(blocks.fns, dict) else blocks.fns
    numbers = [number for number, one in enumerate(functions) if one.fn is not None and one.fn.__name__ == handler_name]
    assert numbers
    for number in numbers:
        event = blocks.config["dependencies"][number]
        assert components[field]._id in event["inputs"]
        assert components[field]._id in event["outputs"]
    assert isinstance(components[field], gr.Textbox)
    assert not components[field].value


def seen_of(updates: dict[Any, Any]) -> Any:
    [seen] = [component for component in updates if isinstance(component, gr.State)]
    return updates[seen]


def failing(problem: Exception) -> Callable[..., Any]:
    def fail(*_: Any) -> None:
        raise problem

    return fail


def test_a_part_that_fails_takes_no_other_with_it(
    handler: Handler, components: Components, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress, "_previews", failing(ZeroDivisionError("secret")))
    status, gallery = components["te_train_status"], components["te_train_gallery"]
    first = handler("poll")(None, "")
    assert {components["te_train_progress"], components["te_train_plot"], components["te_cards_version"]} <= set(first)
    assert gallery not in first
    assert "Something went wrong" in first[status]
    assert "secret" not in first[status]
    known = seen_of(first)
    for _ in range(3):
        later = handler("poll")(known, "yes")
        assert [component.elem_id for component in later] == [None], "told once, so that other messages can be read"
        known = seen_of(later)
    assert len([record for record in caplog.records if record.exc_info]) == 1
    monkeypatch.setattr(progress, "_previews", lambda _: [])
    better = handler("poll")(known, "yes")
    assert better[gallery] == []
    assert "Something" not in better[status]


def test_a_panel_that_fails_leaves_the_other(
    handler: Handler,
    components: Components,
    services: Services,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(services.host, "loaded_embeddings", failing(StorageFailed("The disk is gone.")))
    updates = handler("poll")(None, "")
    assert components["te_train_progress"] in updates
    assert "The disk is gone." in updates[components["te_library_status"]]
    assert components["te_train_status"] in updates
    assert "disk" not in updates[components["te_train_status"]]
    monkeypatch.undo()
    monkeypatch.setattr(train_panel, "parts", failing(ZeroDivisionError("secret")))
    updates = handler("poll")(None, "")
    assert components["te_cards_version"] in updates
    assert "Something went wrong" in updates[components["te_train_status"]]
    monkeypatch.setattr(train_panel, "parts", failing(KeyError("another")))
    handler("poll")(None, "")
    assert len([record for record in caplog.records if record.exc_info]) == 2, "another failure is logged"


def test_last_used_values_that_cannot_be_read_take_nothing_with_them(
    handler: Handler, components: Components, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_panel, "remembered", failing(ZeroDivisionError("secret")))
    updates = handler("poll")(None, "")
    assert {components["te_train_progress"], components["te_cards_version"], components["te_page_opened"]} <= set(updates)
    assert "te-cards" in handler("update")("")[components["te_library_cards"]]


def test_versions_of_two_servers_are_told_apart(services: Services) -> None:
    first, second = LibraryVersion(services), LibraryVersion(services)
    assert first.read() == first.read()
    assert first.read() != second.read()


def test_every_change_of_the_library_is_a_new_version(services: Services) -> None:
    """Also one that keeps all names, and one that the page has not made, such as by the API."""
    version = LibraryVersion(services)
    seen = [version.read()]
    for change in (
        lambda: services.library.create("my-cat", "cat"),
        lambda: services.library.save(replace(services.library.read("my-cat"), step=120)),
        lambda: services.library.set_notes("my-cat", {"notes": "soft"}),
        lambda: services.library.delete("my-cat"),
        lambda: services.library.restore(services.library.trashed()[0].id),
        services.library.reload,
    ):
        change()
        seen.append(version.read())
    assert len(set(seen)) == 7
    assert version.read() == seen[-1]


def train_values(components: Components, **changes: Any) -> dict[Any, Any]:
    values = {**fields.initial_values({}), **changes}
    shown = {components[fields.elem_id(name)]: fields.widget_value(name, value) for name, value in values.items()}
    return {**shown, components["te_train_kind"]: "subject"}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "No embedding is selected."),
        ({"embedding": "nobody", "dataset": "/nowhere"}, "There is no embedding &#34;nobody&#34;."),
        ({"embedding": "my-cat", "dataset": "/nowhere/<b>"}, "The folder &#34;/nowhere/&lt;b&gt;&#34; does not exist."),
        ({"embedding": "my-cat", "dataset": "{folder}"}, "There are no images"),
        ({"embedding": "my-cat", "dataset": "{folder}", "learning_rate": "fast"}, "is not a learning rate"),
    ],
)
def test_train_says_what_is_wrong(
    handler: Handler, components: Components, tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    handler("create")("my-cat", "cat", "1", False, "tokens")
    (tmp_path / "empty").mkdir()
    filled = {name: value.replace("{folder}", str(tmp_path / "empty")) for name, value in changes.items()}
    updates = handler("start")(train_values(components, **filled))
    assert list(updates) == [components["te_train_status"]]
    assert sentence in updates[components["te_train_status"]]


def test_train_starts_a_run_and_remembers_the_fields(
    handler: Handler, components: Components, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[TrainingSpec] = []
    monkeypatch.setattr(services.runs, "start", started.append)
    handler("start")(train_values(components, embedding="my-cat", dataset="/pictures", steps=5))
    assert started == [TrainingSpec.from_json({"embedding": "my-cat", "dataset": "/pictures", "steps": 5})]
    assert services.settings.load()["steps"] == 5


def test_a_template_fills_the_lines(handler: Handler, services: Services) -> None:
    name, lines = next(iter(services.datasets.templates().items()))
    assert handler("fill_template")(name) == "\n".join(lines)


def test_a_kind_fills_captions_and_previews_and_is_recognised(handler: Handler, components: Components) -> None:
    updates = handler("fill_kind")("negative")
    lines, prompts, negative = (updates[components[f"te_train_{name}"]] for name in DECIDED)
    assert "[name], [filewords]" in lines.splitlines()
    assert (negative, "[name]" in prompts) == ("[name]", False)
    assert handler("show_kind")("subject", lines, prompts, negative) == "negative"
    assert handler("show_kind")("subject", lines, "a dog", negative) is None


def test_a_preset_fills_its_fields(handler: Handler, components: Components) -> None:
    updates = handler("fill_preset")("WebUI classic")
    assert updates[components["te_train_batch_size"]] == 1
    assert updates[components["te_train_learning_rate"]] == "0.005"


def test_refresh_reads_the_folder_again(handler: Handler, components: Components, services: Services) -> None:
    first = handler("poll")(None, "")
    reloads = services.host.reloads  # type: ignore[attr-defined]
    handler("refresh")()
    assert services.host.reloads == reloads + 1  # type: ignore[attr-defined]
    assert handler("poll")(None, "")[components["te_cards_version"]] != first[components["te_cards_version"]]


def test_an_error_is_shown_and_an_unexpected_one_is_logged_too(status: Any, caplog: pytest.LogCaptureFixture) -> None:
    @errors_in(status)
    def fails(problem: Exception) -> None:
        raise problem

    assert "The disk is full." in fails(StorageFailed("The disk is full."))[status]
    assert caplog.records == []
    assert "Something went wrong" in fails(ZeroDivisionError("secret"))[status]
    assert "secret" not in fails(ZeroDivisionError("secret"))[status]
    assert caplog.records[0].levelno == logging.ERROR
    assert caplog.records[0].exc_info is not None


def test_a_full_disk_does_not_hide_that_an_embedding_was_made(
    handler: Handler,
    components: Components,
    services: Services,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(_values: dict[str, Any]) -> None:
        raise StorageFailed("The disk is full.")

    monkeypatch.setattr(services.settings, "save", full)
    assert "Created my-cat" in handler("create")("my-cat", "cat", "1", False, "tokens")[components["te_create_status"]]
    assert "The disk is full." in caplog.text


@pytest.mark.skipif(gradio_compat.MAJOR < 6, reason="takes away what gradio 6 has")
def test_the_tab_is_built_without_an_event_for_leaving_a_number(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in gradio 4.40, which Forge and Forge Neo have."""
    monkeypatch.delattr(gr.Number, "blur")
    assert inside_a_loop(lambda: build(services)).blocks
