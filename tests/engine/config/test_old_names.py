"""Options under the names that they had in earlier versions."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from train_embedding.engine.config.old_names import RENAMED_FIELDS, RETIRED_FIELDS, with_current_names, without_retired
from train_embedding.engine.config.spec import TrainingSpec
from train_embedding.errors import InvalidSpec

OLD_VALUES: dict[str, Any] = {
    "accumulation": 2, "auto_stop": False, "average": 0.5, "clip_gradient": 1.5, "context_weight": 0.1, "cooldown": 13,
    "evaluate_every": 11, "fit": "resize", "flip": True, "keep_tags": 2, "latent_cache": False, "mask_floor": 0.5, "min_snr": 5.0,
    "shuffle_tags": True, "tag_dropout": 0.25, "warmup": 9,
}  # fmt: skip


def test_every_old_name_leads_to_an_option_and_is_none_itself() -> None:
    names = {field.name for field in dataclasses.fields(TrainingSpec)}
    assert set(OLD_VALUES) == set(RENAMED_FIELDS)
    assert set(RENAMED_FIELDS.values()) <= names
    assert not (set(RENAMED_FIELDS) | RETIRED_FIELDS) & names


def test_a_spec_is_read_under_the_old_names() -> None:
    spec = TrainingSpec.from_json({"embedding": "my-cat", "dataset": "/images", **OLD_VALUES})
    assert {name: getattr(spec, RENAMED_FIELDS[name]) for name in OLD_VALUES} == OLD_VALUES
    assert spec == TrainingSpec.from_json(spec.to_json())


@pytest.mark.parametrize("value", [0.5, 0.0])
def test_an_option_given_under_both_names_is_refused(value: float) -> None:
    with pytest.raises(InvalidSpec, match='"average" is the old name of "ema_decay"'):
        TrainingSpec.from_json({"embedding": "my-cat", "dataset": "/images", "average": value, "ema_decay": 0.5})


def test_a_wrong_value_is_named_as_the_option_is_called_today() -> None:
    with pytest.raises(InvalidSpec, match="ema_decay is 2"):
        TrainingSpec.from_json({"embedding": "my-cat", "dataset": "/images", "average": 2})


def test_saved_values_keep_the_newer_name() -> None:
    assert with_current_names({"ema_decay": 0.5, "average": 0.1, "steps": 3}) == {"ema_decay": 0.5, "steps": 3}
    assert without_retired({"compile": True, "steps": 3}) == {"steps": 3}
