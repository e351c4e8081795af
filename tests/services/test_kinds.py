"""Kinds of embeddings: what each sets, and how a set of options is recognised."""

from __future__ import annotations

import torch

from tests.checkpoints import pictures
from tests.training import Trainee, trainee
from train_embedding.engine.config import TrainingSpec
from train_embedding.services.kinds import KINDS, WITH_IMAGES, kind_of, kind_values, used_values

__all__ = ["pictures", "trainee"]


def spec(**options: object) -> dict[str, object]:
    made = TrainingSpec.from_json({"embedding": "my-cat", "dataset": "/images", **options})
    return {name: getattr(made, name) for name in ("template", "preview_prompt", "preview_negative_prompt")}


def test_a_negative_embedding_is_in_the_negative_prompt_of_its_previews() -> None:
    values = spec(**kind_values("negative"))
    assert values["preview_negative_prompt"] == "[name]"
    assert "[name]" not in str(values["preview_prompt"])
    assert "[name], [filewords]" in values["template"]  # type: ignore[operator]


def test_a_style_is_named_in_its_captions_and_previews() -> None:
    values = spec(**kind_values("style"))
    assert all("style" in line for line in str(values["preview_prompt"]).splitlines())


def test_captions_change_what_is_trained_of_a_style(trainee: Trainee) -> None:
    def trained(caption: str) -> list[torch.Tensor]:
        for image in trainee.pictures.glob("*.png"):
            image.with_suffix(".txt").write_text(caption)
        trainee.reset()
        assert trainee.run(template=kind_values("style")["template"], steps=8).status == "finished"
        return list(trainee.embedding().vectors.values())

    boats, again, stars = trained("a boat on a lake"), trained("a boat on a lake"), trained("two red stars")
    assert all(map(torch.equal, boats, again))
    assert not any(map(torch.equal, boats, stars))


def test_some_lines_leave_captions_out() -> None:
    """A file name that stands for a missing caption is not in every prompt, and evaluations do without."""
    for kind in KINDS:
        lines = kind_values(kind)["template"]
        assert {"[filewords]" in line for line in lines} == {True, False}
        assert "[filewords]" not in lines[0]


def test_the_defaults_are_those_of_a_subject() -> None:
    assert kind_of(spec()) == "subject"


def test_options_are_recognised_unless_one_was_changed() -> None:
    for kind in WITH_IMAGES:
        values = spec(**kind_values(kind))
        assert kind_of(values) == kind
        assert kind_of({**values, "preview_prompt": "a dog"}) is None


def test_a_prompt_without_a_dataset_is_packed() -> None:
    assert kind_of({**spec(), "teacher_prompt": "a long prompt", "dataset": ""}) == "prompt"
    assert kind_of({**spec(), "teacher_prompt": "a long prompt", "dataset": "/images"}) == "subject"


def test_values_that_a_kind_does_not_use_are_left_out() -> None:
    values = {"dataset": "/images", "teacher_prompt": "a long prompt", "steps": 5}
    assert used_values("prompt", values) == {**values, "dataset": ""}
    assert used_values(None, values) == used_values("style", values) == {**values, "teacher_prompt": ""}
