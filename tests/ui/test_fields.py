"""The table of fields: none forgotten, each once, and what their widgets give reaches the spec."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

pytest.importorskip("gradio")

from train_embedding.engine.config.presets import PRESETS
from train_embedding.engine.config.spec import OPTIONS, TrainingSpec
from train_embedding.errors import InvalidInput, InvalidSpec
from train_embedding.ui import fields
from train_embedding.ui.training import panel as train_panel

NAMES = [field.name for field in dataclasses.fields(TrainingSpec)]


def raw(**changes: Any) -> dict[str, Any]:
    """What the widgets hold when a page opens, with two that a person fills in; numbers arrive as floats."""
    values = fields.initial_values({}) | {"embedding": "my-cat", "dataset": "/pictures"}
    shown = {name: fields.widget_value(name, value) for name, value in values.items()}
    return {name: float(value) if type(value) is int else value for name, value in shown.items()} | changes


def test_every_field_of_the_spec_has_one_widget() -> None:
    values = fields.initial_values({})
    widgets = [fields.make_widget(option, values[option.name]) for option in OPTIONS]
    assert [widget.elem_id for widget in widgets] == [f"te_train_{name}" for name in NAMES]
    assert len({widget.label for widget in widgets}) == len(NAMES)
    assert all(widget.info for widget in widgets)


def test_every_field_has_one_place_in_the_panel() -> None:
    groups = train_panel.advanced_groups()
    advanced = [option for group in groups for option in OPTIONS if option.advanced and option.group == group]
    shown = [option for option in OPTIONS if not option.advanced] + advanced
    assert sorted(option.name for row in fields.rows_of(shown) for option in row) == sorted(NAMES)


def test_untouched_widgets_give_the_default_spec() -> None:
    assert fields.read_spec(raw()) == TrainingSpec.from_json({"embedding": "my-cat", "dataset": "/pictures"})


def test_a_prompt_takes_the_place_of_the_folder() -> None:
    spec = fields.read_spec(raw(dataset=" ", teacher_prompt="a long text"))
    assert spec == TrainingSpec.from_json({"embedding": "my-cat", "teacher_prompt": "a long text"})
    assert spec.distills


@pytest.mark.parametrize("preset", PRESETS)
def test_a_presets_values_reach_the_spec(preset: str) -> None:
    spec = fields.read_spec(raw(preset=preset, **fields.preset_updates(preset)))
    assert spec == TrainingSpec.from_json({"embedding": "my-cat", "dataset": "/pictures", "preset": preset})


def test_every_preset_updates_the_same_fields() -> None:
    assert len({frozenset(fields.preset_updates(preset)) for preset in PRESETS}) == 1


def test_settings_of_earlier_versions_fill_in_the_options_of_today() -> None:
    values = fields.initial_values({"average": 0.5, "fit": "resize", "warmup": "9"})
    assert (values["ema_decay"], values["resize_mode"]) == (0.5, "resize")
    assert values["lr_warmup_steps"] == 0
    assert set(values) == set(NAMES)


def test_template_lines_and_spaces() -> None:
    spec = fields.read_spec(raw(template="a [name]\n\n  [name], [filewords]  \n", dataset=" /pictures "))
    assert spec.template == ("a [name]", "[name], [filewords]")
    assert spec.dataset == "/pictures"


@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        ({"embedding": None}, InvalidInput, "No embedding is selected."),
        ({"dataset": "  "}, InvalidInput, "No dataset is given."),
        ({"steps": None}, InvalidSpec, '"Steps" is empty.'),
        ({"steps": 1.5}, InvalidSpec, '"Steps" is 1.5; it must be a whole number from 1 to 1,000,000.'),
        ({"steps": 0.0}, InvalidSpec, '"Steps" is 0'),
        ({"width": 65.0}, InvalidSpec, '"Width" is 65; it must be a multiple of 8 from 0 to 4,096.'),
        ({"learning_rate": "0.005:10:3"}, InvalidSpec, '"0.005:10:3" is not a learning rate.'),
        ({"learning_rate": ""}, InvalidSpec, "The learning rate is empty."),
        ({"template": "a photo"}, InvalidSpec, "caption template"),
        ({"caption_tag_dropout_rate": 1.5}, InvalidSpec, '"Tag dropout" is 1.5; it must be a number from 0 to 1.'),
        ({"embedding": "a/b"}, InvalidInput, "contains '/'"),
    ],
)
def test_a_bad_value_is_one_sentence(changes: dict[str, Any], error: type[InvalidInput], sentence: str) -> None:
    with pytest.raises(error) as caught:
        fields.read_spec(raw(**changes))
    assert sentence in caught.value.message


def test_remembered_values_of_an_earlier_version_behave_as_before() -> None:
    values = fields.initial_values({"learning_rate": "5e-3", "optimizer": "adamw"})
    assert (values["learning_rate"], values["optimizer"], values["lr_scheduler"]) == ("5e-3", "adamw", "constant")
    assert fields.initial_values({})["lr_scheduler"] == "linear"


def test_remembered_values_come_back() -> None:
    spec = fields.read_spec(raw(steps=7.0, template="[name]!", preset="WebUI classic", max_grad_norm=2.0, shuffle_caption=True))
    assert fields.initial_values(spec.to_json()) == {**dataclasses.asdict(spec)}


@pytest.mark.parametrize(
    "remembered",
    [
        {"steps": "many"},
        {"steps": True},
        {"steps": None},
        {"template": "no list"},
        {"template": [1]},
        {"preset": "Slow"},
        {"nonsense": 1},
        {"compile": True},
        {"shuffle_caption": 1},
        {"steps": 0},
        {"timesteps": "late"},
    ],
)
def test_remembered_values_of_another_kind_are_left_out(remembered: dict[str, Any]) -> None:
    assert fields.initial_values(remembered) == fields.initial_values({})
