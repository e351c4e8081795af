"""Presets of one's own in the Train panel, and the settings that differ from the chosen preset."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio")

from tests.ui.reading import Reader
from train_embedding.services import Services
from train_embedding.services.kinds import DECIDED, Kind, kind_values
from train_embedding.ui import fields

Handler = Callable[[str], Callable[..., Any]]
Components = dict[str, Any]
IDS = (
    "te_presets", "te_presets_choice", "te_presets_name", "te_presets_overwrite", "te_presets_save", "te_presets_rename",
    "te_presets_delete", "te_presets_export", "te_presets_import", "te_presets_undo", "te_presets_status", "te_presets_exported",
    "te_presets_deleted", "te_train_changed", "te_train_reset_all", "te_train_reset_option", "te_train_reset",
)  # fmt: skip


def raw(**changed: Any) -> list[Any]:
    """What the widgets of all options send, in their order."""
    values = {**fields.initial_values({}), "embedding": "my-cat", "dataset": "/images", **changed}
    return [fields.widget_value(name, value) if isinstance(value, tuple) else value for name, value in values.items()]


def update(updates: dict[Any, Any], component: Any) -> Any:
    found = updates[component]
    return found.get("value") if isinstance(found, dict) else found


def test_element_ids(components: Components) -> None:
    assert [name for name in IDS if name not in components] == []


def test_settings_are_saved_and_filled_in_again(handler: Handler, components: Components, services: Services) -> None:
    updates = handler("save_preset")("pencil", False, *raw(steps=300, template="a drawing of [name]\n\n", early_stopping=False))
    assert "Saved the preset pencil." in updates[components["te_presets_status"]]
    assert updates[components["te_presets_choice"]]["value"] == "pencil"
    assert services.presets.get("pencil").options == {
        "steps": 300, "template": ("a drawing of [name]",), "early_stopping": False,
    }  # fmt: skip
    filled = handler("load_preset")("pencil")
    assert update(filled, components["te_train_steps"]) == 300
    assert update(filled, components["te_train_template"]) == "a drawing of [name]"
    assert update(filled, components["te_train_preset"]) == "Fast"
    assert update(filled, components["te_train_batch_size"]) == 2
    for subject in ("embedding", "dataset", "teacher_prompt", "candidates"):
        assert components[f"te_train_{subject}"] not in filled


def test_a_taken_name_needs_the_tick(handler: Handler, components: Components, services: Services) -> None:
    services.presets.save("pencil", {"seed": 1})
    assert "use &#34;Overwrite&#34;" in handler("save_preset")("pencil", False, *raw())[components["te_presets_status"]]
    updates = handler("save_preset")("pencil", True, *raw(seed=2))
    assert updates[components["te_presets_overwrite"]] is False
    assert services.presets.get("pencil").options == {"seed": 2}


@pytest.mark.parametrize(
    ("name", "changed", "sentence"),
    [
        ("", {}, "Enter a name for the preset."),
        ("Fast", {}, "is a built-in preset"),
        ("a", {"steps": 0}, "it must be a whole number"),
        ("a", {"steps": None}, "is empty"),
        ("a", {"learning_rate": "fast"}, "learning rate"),
    ],
)
def test_what_cannot_be_saved_is_said(
    handler: Handler, components: Components, services: Services, name: str, changed: dict[str, Any], sentence: str
) -> None:
    updates = handler("save_preset")(name, False, *raw(**changed))
    assert sentence in Reader(updates[components["te_presets_status"]]).text
    assert services.presets.list() == []


def test_a_chosen_preset_whose_file_was_damaged_counts_as_none(
    handler: Handler, components: Components, services: Services
) -> None:
    services.presets.save("pencil", {"steps": 300})
    (services.presets.folder / "pencil.json").write_text("{")
    changed = handler("mark_changed")("pencil", *raw(steps=300))[components["te_train_changed"]]
    assert "300" in Reader(changed).text


def test_rename_delete_and_undo(handler: Handler, components: Components, services: Services) -> None:
    services.presets.save("pencil", {"seed": 1})
    assert handler("rename_preset")("pencil", "chalk")[components["te_presets_choice"]]["choices"] in (
        ["chalk"],
        [("chalk", "chalk")],
    )
    deleted = handler("delete_preset")("chalk")
    assert "te-deleted" in deleted[components["te_presets_status"]]
    assert deleted[components["te_presets_choice"]]["value"] is None
    assert services.presets.list() == []
    handler("undo_delete_preset")(deleted[components["te_presets_deleted"]])
    assert services.presets.get("chalk").options == {"seed": 1}


def test_a_preset_is_exported_and_imported(handler: Handler, components: Components, services: Services, tmp_path: Path) -> None:
    services.presets.save("pencil", {"seed": 1})
    assert 'download="pencil.json"' in handler("export_preset")("pencil")[components["te_presets_exported"]]
    file = tmp_path / "theirs.json"
    file.write_bytes(services.presets.export("pencil").replace(b"pencil", b"theirs"))
    updates = handler("import_preset")(str(file), False)
    assert updates[components["te_presets_choice"]]["value"] == "theirs"
    assert update(updates, components["te_train_seed"]) == 1
    file.write_text(json.dumps({"train_embedding_preset": 1, "name": "evil", "based_on": "Fast", "options": {"exec": "x"}}))
    refused = handler("import_preset")(str(file), False)
    assert "There is no option" in refused[components["te_presets_status"]]
    assert [preset.name for preset in services.presets.list()] == ["pencil", "theirs"]


def test_without_a_selected_preset_it_is_said(handler: Handler, components: Components) -> None:
    for name, values in (("rename_preset", ("a",)), ("delete_preset", ()), ("export_preset", ()), ("load_preset", ())):
        assert "None of your presets is selected." in handler(name)(None, *values)[components["te_presets_status"]]


def decided(kind: Kind) -> list[Any]:
    """What the widgets show of the options that a kind decides."""
    return [fields.widget_value(name, value) for name, value in kind_values(kind).items()]


def changed(handler: Handler, components: Components, choice: str | None = None, **values: Any) -> Reader:
    return Reader(handler("mark_changed")(choice, *raw(**values))[components["te_train_changed"]])


def test_changed_settings_are_marked(handler: Handler, components: Components, services: Services) -> None:
    assert changed(handler, components).text == ""
    assert "Changed from Fast:" in changed(handler, components, steps=300, seed=None).text
    html = handler("mark_changed")(None, *raw(steps=300.0))[components["te_train_changed"]]
    assert 'data-option="steps"' in html
    assert "Reset to 248" in html
    assert '<b dir="auto">300</b>' in html
    assert html.count("data-option=") == 1
    services.presets.save("pencil", {"steps": 300})
    assert changed(handler, components, "pencil", steps=300).text == ""
    assert "Changed from pencil:" in changed(handler, components, "pencil", steps=300, seed=5).text
    assert "Changed from Quality:" in changed(handler, components, "pencil", preset="Quality").text, "it is based on another"


def test_what_is_trained_on_what_is_never_marked(handler: Handler, components: Components) -> None:
    assert changed(handler, components, dataset="/other", candidates="cat", teacher_prompt="a long prompt").text == ""


def test_one_setting_or_all_are_reset(handler: Handler, components: Components, services: Services) -> None:
    services.presets.save("pencil", {"steps": 300})
    kind = decided("subject")
    one = handler("reset_one")("steps", "pencil", "Fast", *kind)
    assert update(one, components["te_train_steps"]) == 300
    assert components["te_train_seed"] not in one
    assert update(handler("reset_one")("steps", None, "Fast", *kind), components["te_train_steps"]) == 248
    assert set(handler("reset_one")("dataset", None, "Fast", *kind)) == {components["te_presets_status"]}
    every = handler("reset_all")(None, "Quality", *kind)
    assert (update(every, components["te_train_steps"]), update(every, components["te_train_batch_size"])) == (250, 8)
    assert components["te_train_embedding"] not in every


def test_what_the_kind_decides_is_neither_marked_nor_reset(handler: Handler, components: Components) -> None:
    style = dict(zip(DECIDED, decided("style"), strict=True))
    assert changed(handler, components, **style).text == ""
    every = handler("reset_all")(None, "Fast", *style.values())
    assert [update(every, components[f"te_train_{name}"]) for name in DECIDED] == list(style.values())
    own = {**style, "template": "a [name] of mine"}
    assert "Caption lines" in changed(handler, components, **own).text
    every = handler("reset_all")(None, "Fast", *own.values())
    assert [update(every, components[f"te_train_{name}"]) for name in DECIDED] == decided("subject")


def test_pages_learn_of_the_presets_of_others(handler: Handler, components: Components, services: Services) -> None:
    choice = components["te_presets_choice"]
    services.presets.save("pencil", {})
    assert "pencil" in str(handler("poll")(None, "yes")[choice]["choices"])
    seen = handler("poll")(None, "yes")[next(c for c in handler("poll")(None, "yes") if type(c).__name__ == "State")]
    assert choice not in handler("poll")(seen, "yes")
    services.presets.save("second", {})
    assert "second" in str(handler("poll")(seen, "yes")[choice]["choices"])
