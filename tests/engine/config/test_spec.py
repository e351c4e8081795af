"""Training specs: presets, JSON, and every value that is refused."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace
from typing import Any

import pytest

from train_embedding.engine.config.learning_rate import parse_schedule
from train_embedding.engine.config.presets import PRESETS, preset_values
from train_embedding.engine.config.spec import DEFAULT_TEMPLATE, ResolvedSpec, TrainingSpec, resolve
from train_embedding.errors import InvalidName, InvalidSpec

NEEDED = {"embedding": "sword", "dataset": "/pictures"}


def test_json_and_back() -> None:
    spec = TrainingSpec(
        embedding="剣",
        dataset="C:\\pictures",
        preset="WebUI classic",
        steps=7,
        batch_size=3,
        learning_rate="0.005:100, 1e-3",
        width=64,
        height=96,
        buckets=False,
        resize_mode="resize",
        random_flip=True,
        repeats=True,
        masks="file",
        unmasked_weight=0.5,
        keep_tokens=2,
        cache_latents_to_disk=False,
        template=("[name]", "a [filewords] by [name]"),
        shuffle_caption=True,
        caption_tag_dropout_rate=0.25,
        timesteps="uniform",
        timestep_focus=0.5,
        candidates="cat, tabby",
        encoders="clip_g",
        core_loss_weight=0.1,
        latent_sampling="random",
        optimizer="adamw",
        choose_start_words=False,
        lr_scheduler="cosine",
        gradient_accumulation_steps=2,
        lr_warmup_steps=9,
        max_grad_norm=1.5,
        loss="huber",
        min_snr_gamma=5.0,
        ema_decay=0.5,
        eval_every=11,
        early_stopping=False,
        min_steps=12,
        lr_cooldown_steps=13,
        keep="last",
        seed=2**32 - 1,
        save_every=3,
        preview_every=4,
        preview_prompt="a [name]",
        preview_negative_prompt="ugly",
        preview_seed=5,
        preview_steps=6,
        preview_guidance=2.5,
        cuda_graphs=True,
    )
    default = TrainingSpec(**NEEDED)
    other = {field.name for field in fields(TrainingSpec)} - {"teacher_prompt"}  # which excludes a dataset
    assert all(getattr(spec, name) != getattr(default, name) for name in other)
    assert TrainingSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_the_default_is_the_preset_fast() -> None:
    assert TrainingSpec.from_json(dict(NEEDED)) == TrainingSpec(**NEEDED)


@pytest.mark.parametrize("name", PRESETS)
def test_presets(name: str) -> None:
    spec = TrainingSpec.from_json({**NEEDED, "preset": name})
    assert spec.preset == name
    assert {key: getattr(spec, key) for key in PRESETS[name]} == PRESETS[name]
    assert TrainingSpec.from_json({**NEEDED, "preset": name, "steps": 3}) == replace(spec, steps=3)


def test_webui_classic_is_what_tutorials_assume() -> None:
    spec = TrainingSpec.from_json({**NEEDED, "preset": "WebUI classic"})
    assert (spec.batch_size, float(spec.learning_rate), spec.timesteps) == (1, 0.005, "uniform")


def test_webui_classic_has_neither_buckets_nor_masks() -> None:
    spec = TrainingSpec.from_json({**NEEDED, "preset": "WebUI classic"})
    assert (spec.buckets, spec.masks, spec.random_flip) == (False, "none", False)


def test_preset_values_are_a_copy() -> None:
    preset_values("Fast")["steps"] = 1
    assert PRESETS["Fast"].get("steps") == 248


def test_what_json_may_say_differently() -> None:
    spec = TrainingSpec.from_json(
        {**NEEDED, "learning_rate": 0.001, "template": " a [name] \n\n[filewords]\n", "caption_tag_dropout_rate": 1}
    )
    assert (spec.learning_rate, spec.template, spec.caption_tag_dropout_rate) == ("0.001", ("a [name]", "[filewords]"), 1)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"step": 3}, 'There is no option "step".'),
        ({"b": 1, "a": 2}, 'There are no options "a", "b".'),
        ({"embedding": ""}, "embedding is missing."),
        ({"embedding": None, "dataset": None}, "embedding is missing."),
        ({"embedding": 5}, "embedding is 5; it must be text."),
        ({"dataset": ["x"]}, "dataset is ['x']; it must be text."),
        ({"preset": "Slow"}, 'preset is "Slow"; it must be one of Fast, Quality, WebUI classic.'),
        ({"preset": []}, "preset is []; it must be one of Fast, Quality, WebUI classic."),
        ({"preset": None}, "preset is None; it must be one of Fast, Quality, WebUI classic."),
        ({"preview_prompt": 5}, "preview_prompt is 5; it must be text."),
        ({"preview_negative_prompt": None}, "preview_negative_prompt is None; it must be text."),
        ({"timesteps": 5}, "timesteps is 5; it must be one of shifted, stratified, uniform."),
        ({"timesteps": "late"}, 'timesteps is "late"; it must be one of shifted, stratified, uniform.'),
        ({"latent_sampling": "twice"}, 'latent_sampling is "twice"; it must be one of deterministic, once, random.'),
        ({"learning_rate": "fast"}, '"fast" is not a learning rate.'),
        ({"learning_rate": True}, "learning_rate is True; it must be text."),
        ({"learning_rate": None}, "learning_rate is None; it must be text."),
        ({"learning_rate": [0.1]}, "learning_rate is [0.1]; it must be text."),
        ({"learning_rate": math.nan}, 'The learning rate "nan" must be above 0 and at most 100.'),
        ({"learning_rate": 0}, 'The learning rate "0" must be above 0 and at most 100.'),
        ({"template": []}, "Each line of the caption template must contain [name] or [filewords]."),
        ({"template": " \n"}, "Each line of the caption template must contain [name] or [filewords]."),
        ({"template": ["[name]", "a photo"]}, "Each line of the caption template must contain [name] or [filewords]."),
        ({"template": 5}, "template is 5; it must be text or a list of lines."),
        ({"template": ["[name]", 5]}, "template is ('[name]', 5); it must be text or a list of lines."),
        ({"shuffle_caption": "no"}, 'shuffle_caption is "no"; it must be true or false.'),
        ({"shuffle_caption": 1}, "shuffle_caption is 1; it must be true or false."),
        *(
            ({name: 1}, f"{name} is 1; it must be true or false.")
            for name in ("buckets", "random_flip", "repeats", "cache_latents_to_disk")
        ),
        ({"resize_mode": "squash"}, 'resize_mode is "squash"; it must be one of crop, resize.'),
        ({"resize_mode": None}, "resize_mode is None; it must be one of crop, resize."),
        ({"masks": "png"}, 'masks is "png"; it must be one of auto, alpha, file, none.'),
        ({"masks": True}, "masks is True; it must be one of auto, alpha, file, none."),
        ({"unmasked_weight": 1.5}, "unmasked_weight is 1.5; it must be a number from 0 to 1."),
        ({"keep_tokens": -1}, "keep_tokens is -1; it must be a whole number from 0 to 1,000."),
        (
            {"template": ["a {red|blue [name]"]},
            'The caption line "a {red|blue [name]" cannot be used: A "{" has no matching "}".',
        ),
        ({"caption_tag_dropout_rate": 1.01}, "caption_tag_dropout_rate is 1.01; it must be a number from 0 to 1."),
        ({"caption_tag_dropout_rate": math.nan}, "caption_tag_dropout_rate is nan; it must be a number from 0 to 1."),
        ({"caption_tag_dropout_rate": True}, "caption_tag_dropout_rate is True; it must be a number from 0 to 1."),
        ({"caption_tag_dropout_rate": "0.5"}, 'caption_tag_dropout_rate is "0.5"; it must be a number from 0 to 1.'),
        ({"max_grad_norm": -1}, "max_grad_norm is -1; it must be a number from 0 to 1,000,000."),
        ({"preview_guidance": math.inf}, "preview_guidance is inf; it must be a number from 0 to 100."),
        ({"preview_guidance": 10**400}, f"preview_guidance is {10**400}; it must be a number from 0 to 100."),
        ({"steps": 0}, "steps is 0; it must be a whole number from 1 to 1,000,000."),
        ({"steps": 1_000_001}, "steps is 1000001; it must be a whole number from 1 to 1,000,000."),
        ({"steps": True}, "steps is True; it must be a whole number from 1 to 1,000,000."),
        ({"steps": 4.0}, "steps is 4.0; it must be a whole number from 1 to 1,000,000."),
        ({"steps": "4"}, 'steps is "4"; it must be a whole number from 1 to 1,000,000.'),
        ({"steps": None}, "steps is None; it must be a whole number from 1 to 1,000,000."),
        ({"batch_size": 0}, "batch_size is 0; it must be a whole number from 1 to 256."),
        ({"batch_size": 257}, "batch_size is 257; it must be a whole number from 1 to 256."),
        ({"width": -8}, "width is -8; it must be a multiple of 8 from 0 to 4,096."),
        ({"width": 100}, "width is 100; it must be a multiple of 8 from 0 to 4,096."),
        ({"height": 12}, "height is 12; it must be a multiple of 8 from 0 to 4,096."),
        ({"seed": -1}, "seed is -1; it must be a whole number from 0 to 4,294,967,295."),
        ({"seed": 2**32}, "seed is 4294967296; it must be a whole number from 0 to 4,294,967,295."),
        ({"save_every": -1}, "save_every is -1; it must be a whole number from 0 to 1,000,000."),
        ({"preview_every": -1}, "preview_every is -1; it must be a whole number from 0 to 1,000,000."),
        ({"preview_seed": -1}, "preview_seed is -1; it must be a whole number from 0 to 4,294,967,295."),
        ({"preview_steps": 0}, "preview_steps is 0; it must be a whole number from 1 to 150."),
    ],
)
def test_what_is_refused(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        TrainingSpec.from_json({**NEEDED, **values})
    assert caught.value.message == sentence


def test_a_name_that_cannot_be_a_file_is_refused() -> None:
    with pytest.raises(InvalidName):
        TrainingSpec.from_json({**NEEDED, "embedding": "../sword"})


def test_hints_name_what_there_is() -> None:
    with pytest.raises(InvalidSpec) as caught:
        preset_values("Slow")
    assert caught.value.hint == "The presets are Fast, Quality, WebUI classic."
    with pytest.raises(InvalidSpec) as caught:
        TrainingSpec.from_json({**NEEDED, "step": 3})
    assert "batch_size, buckets" in caught.value.hint


def test_resolving_against_a_checkpoint() -> None:
    resolved = resolve(TrainingSpec(**NEEDED, height=96), 64)
    assert (resolved.width, resolved.height, resolved.steps) == (64, 96, 248)
    assert resolved.schedule == parse_schedule("0.12")


@pytest.mark.parametrize(("rate", "steps"), [("0.1:30", 30), ("0.1:500", 248), ("0.1:30, 0.2", 248), ("0.1:30, 0.2:50", 50)])
def test_a_schedule_that_ends_earlier_ends_the_run(rate: str, steps: int) -> None:
    assert resolve(TrainingSpec(**NEEDED, learning_rate=rate), 64).steps == steps


def test_every_default_line_names_the_embedding() -> None:
    assert all("[name]" in line for line in DEFAULT_TEMPLATE)


def test_the_rate_warms_up_and_cools_down() -> None:
    rate = {"learning_rate": "1:10, 0.1:20", "lr_scheduler": "constant", "lr_warmup_steps": 3, "lr_cooldown_steps": 4}
    resolved = resolve(TrainingSpec(**NEEDED, steps=20, **rate), 64)
    rates = [resolved.rate(step, resolved.last_step(None)) for step in range(1, 21)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[10:16] == [0.1] * 6
    assert rates[16:] == pytest.approx([0.08, 0.06, 0.04, 0.02])
    assert resolved.rate(8, 9) == pytest.approx(0.4)


def test_the_rate_falls_to_the_last_step() -> None:
    def rates(scheduler: str) -> list[float]:
        resolved = resolve(TrainingSpec(**NEEDED, steps=4, learning_rate="1", lr_scheduler=scheduler, early_stopping=False), 64)
        return [resolved.rate(step, resolved.last_step(None)) for step in range(1, 5)]

    assert rates("constant") == [1.0] * 4
    assert rates("linear") == [1.0, 0.75, 0.5, 0.25]
    assert rates("cosine") == pytest.approx([1.0, 0.85355, 0.5, 0.14645], abs=1e-5)


def test_a_run_with_a_falling_rate_can_end_at_half_of_its_steps() -> None:
    def resolved(**options: Any) -> ResolvedSpec:
        given = {"steps": 21, "learning_rate": "1", "lr_scheduler": "linear", "eval_every": 5, **options}
        return resolve(TrainingSpec(**NEEDED, **given), 64)

    run = resolved()
    assert [run.last_step(None, count) for count in (0, 1)] == [11, 21]
    assert [run.can_extend(step, 0) for step in (10, 11)] == [False, True]
    assert not run.can_extend(21, 1)
    assert [run.rate(step, 11, 0) for step in (1, 11)] == pytest.approx([1.0, 1 / 11])
    assert [run.rate(step, 21, 1) for step in (12, 21)] == pytest.approx([0.5, 0.05])
    assert resolved(min_steps=15).last_step(None) == 15
    for without in ({"early_stopping": False}, {"eval_every": 0}, {"lr_scheduler": "constant"}):
        assert resolved(**without).last_step(None) == 21


@pytest.mark.parametrize(("steps", "lr_cooldown_steps"), [(4, 1), (3, 0), (40, 10), (1000, 50)])
def test_the_cooldown_of_a_short_run_is_short(steps: int, lr_cooldown_steps: int) -> None:
    assert resolve(TrainingSpec(**NEEDED, steps=steps, lr_cooldown_steps=50), 64).lr_cooldown_steps == lr_cooldown_steps


def test_where_evaluations_are_due() -> None:
    resolved = resolve(TrainingSpec(**NEEDED, steps=50, eval_every=20, early_stopping=False), 64)
    assert [step for step in range(1, 51) if resolved.evaluates_at(step, None)] == [20, 40, 50]
    assert [step for step in range(1, 46) if resolved.evaluates_at(step, 45)] == [20, 40, 45]
    assert not resolve(TrainingSpec(**NEEDED, eval_every=0), 64).evaluates_at(400, None)


def test_a_prompt_to_pack_takes_the_place_of_images() -> None:
    spec = TrainingSpec.from_json({"embedding": "sword", "teacher_prompt": "a long text"})
    assert spec.distills
    assert spec.dataset == ""
    assert not TrainingSpec(**NEEDED).distills
    with pytest.raises(InvalidSpec, match="on images or on a prompt, not on both"):
        TrainingSpec.from_json({**NEEDED, "teacher_prompt": "a long text"})
    with pytest.raises(InvalidSpec, match="dataset is missing") as raised:
        TrainingSpec.from_json({"embedding": "sword", "teacher_prompt": " "})
    assert '"Pack a prompt (distillation)"' in raised.value.hint


def test_preview_prompts() -> None:
    assert TrainingSpec(**NEEDED, preview_prompt=" a [name]\n\nb ").preview_prompts() == ["a [name]", "b"]
    assert TrainingSpec(**NEEDED, preview_prompt=" ").preview_prompts() == ["[name]"]
