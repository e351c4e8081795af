"""The prompts of a run, checked before it begins."""

from __future__ import annotations

from typing import Any

import pytest

from tests.checkpoints import pictures
from tests.training import Trainee, trainee
from train_embedding.engine.config.spec import TrainingSpec
from train_embedding.errors import InvalidInput
from train_embedding.messages import Message
from train_embedding.services.training.prompts import check_prompts, describe_ignored_networks

__all__ = ["pictures", "trainee"]


def checked(extra_networks: bool = False, **values: Any) -> list[Message]:
    dataset = {} if "teacher_prompt" in values else {"dataset": "x"}
    return check_prompts(TrainingSpec.from_json({"embedding": "sword", **dataset, **values}), extra_networks)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"teacher_prompt": "a [cat:dog:0.5]"}, "The prompt to pack changes over the sampling steps"),
        ({"teacher_prompt": "a [cat|dog]"}, "The prompt to pack changes over the sampling steps"),
        ({"teacher_prompt": "a cat AND a dog"}, "The prompt to pack contains AND"),
        ({"teacher_prompt": "(a:1.2.3)"}, '"(a:1.2.3)" in "Pack a prompt (distillation)" cannot be read. "1.2.3" is'),
        ({"template": "([name]:1..2)"}, '"([name]:1..2)" in "Caption lines" cannot be read'),
        ({"preview_prompt": "[name]\n[a:(b:..):0.5]"}, '"[a:(b:..):0.5]" in "Preview prompts" cannot be read'),
        ({"preview_negative_prompt": "(a:..)"}, '"(a:..)" in "Preview negative prompt" cannot be read'),
    ],
)
def test_prompts_that_cannot_be_read(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        checked(**values)
    assert caught.value.message.startswith(sentence)


def test_prompts_that_can() -> None:
    teacher = r"a \(red\) ball, (blue:1.4) sky, [grey] stone, BREAK green leaf"
    assert checked(teacher_prompt=teacher) == []
    assert checked(template=f"[name], {teacher}", preview_prompt="[name] [a:b:0.5] AND c", preview_negative_prompt="[a|b]") == []
    assert checked(preview_prompt="(a:..)", preview_every=0) == []


def test_networks_are_left_out_with_a_sentence() -> None:
    left_out = 'Ignored in "Preview prompts", because only the WebUI applies extra networks: <lora:x:1>, <hypernet:y>.'
    assert checked(preview_prompt="[name] <lora:x:1> <hypernet:y>") in ([left_out.replace(", <hypernet:y>", "")], [left_out])
    assert checked(extra_networks=True, preview_prompt="[name] <lora:x:1>") == []
    (note,) = checked(extra_networks=True, teacher_prompt="a cat <lora:x:1>")
    assert note.startswith('Ignored in "Pack a prompt (distillation)"')
    assert describe_ignored_networks("prompt", "a cat # <lora:x:1>") == ""


def test_a_run_is_refused_at_once_and_told_of_what_is_left_out(trainee: Trainee) -> None:
    with pytest.raises(InvalidInput, match="contains AND"):
        trainee.start(dataset="", teacher_prompt="a AND b")
    assert trainee.services.runs.list() == []
    (trainee.pictures / "bad.png").write_bytes(b"<html>")
    with trainee.host.exclusive("something else"):
        started = trainee.start(steps=1)
        assert started.notes[0].startswith('"bad.png" was skipped: It is a web page')
    assert trainee.wait(started).notes == started.notes
