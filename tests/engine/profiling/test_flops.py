"""What a step costs at true size: the UNet forward, and the backward to what a prompt reaches, and nothing more."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from train_embedding.engine.config.presets import PRESET_NAMES
from train_embedding.engine.config.spec import TrainingSpec, resolve
from train_embedding.engine.layers.frozen import original_layers
from train_embedding.engine.model.diffusion_model import DiffusionModel
from train_embedding.engine.profiling.flops import CASES, StepFlops, count_step, count_text_encoders, evaluation_share
from train_embedding.engine.profiling.meta_models import meta_model
from train_embedding.services.training.trainer import EVALUATION_ITEMS

FLOOR = 2.10
"The step as a multiple of the UNet forward, where attention is a small part of it."


@cache
def sd1() -> DiffusionModel:
    return meta_model("SD1")


@cache
def at_512() -> StepFlops:
    return count_step(sd1(), 512)


def test_it_is_the_true_size() -> None:
    assert sum(parameter.numel() for parameter in sd1().unet.parameters()) == 859_520_964  # as published
    assert {parameter.device.type for parameter in sd1().unet.parameters()} == {"meta"}
    assert at_512().forward / 1e12 == pytest.approx(0.803, abs=0.002)


def is_exactly_what_is_needed(counted: StepFlops) -> bool:
    """A frozen layer's backward costs its forward again, and the gradient of attention's two products is four. There is no less
    for the exact gradient, and the layers before the prompt is read need none of it."""
    return counted.layers_ratio < 2 and 2.5 * counted.attention_forward < counted.attention_step <= 3 * counted.attention_forward


def test_a_step_is_the_floor() -> None:
    assert at_512().step / 1e12 == pytest.approx(1.661, abs=0.001)
    assert at_512().ratio <= FLOOR
    assert is_exactly_what_is_needed(at_512())


@pytest.mark.slow
def test_sd2() -> None:
    """At 768² its self-attention has more tokens, and is a larger part of the forward. Everything else is below the floor."""
    model = meta_model("SD2")
    assert sum(parameter.numel() for parameter in model.unet.parameters()) == 865_910_724
    small, large = count_step(model, 512), count_step(model, 768)
    assert small.ratio <= FLOOR
    assert FLOOR < large.ratio <= 2.162
    assert is_exactly_what_is_needed(small)
    assert is_exactly_what_is_needed(large)
    assert large.ratio - (large.attention_step - 2 * large.attention_forward) / large.forward <= 2.0


@pytest.mark.slow
def test_sdxl() -> None:
    """The published table's backward goes to the context alone. The true gradient also goes to the pooled output, which every
    block of the UNet reads, and that costs 0.05 of a forward; it is left out where the second encoder is not trained."""
    model = meta_model("SDXL")
    assert sum(parameter.numel() for parameter in model.unet.parameters()) == 2_567_463_684  # as published
    to_both, to_context = count_step(model, 1024), count_step(model, 1024, to_pooled=False)
    assert to_context.forward / 1e12 == pytest.approx(6.761, abs=0.002)
    assert to_context.step / 1e12 == pytest.approx(13.910, abs=0.002)
    assert to_context.ratio <= FLOOR
    assert FLOOR < to_both.ratio <= 2.107
    assert is_exactly_what_is_needed(to_both)
    assert is_exactly_what_is_needed(to_context)
    assert to_both.text_encoder < 0.04 * to_both.forward


@pytest.mark.slow
def test_what_frozen_layers_spare() -> None:
    """Of the two convolutions that read the first skip connection, the half that has no gradient."""
    with original_layers(sd1().unet):
        without = count_step(sd1(), 512)
    assert without.forward == at_512().forward
    spared = 320 * 320 * 64 * 64 * 2 * (3 * 3 + 1)
    assert without.step - at_512().step == spared


def test_what_a_fused_kernel_makes_again() -> None:
    forward = at_512().attention_forward
    assert forward / 1e12 == pytest.approx(0.126, abs=0.001)
    assert 0.4 * forward < at_512().recomputed <= 0.5 * forward


@pytest.mark.slow
def test_counting_notices_a_unet_that_is_not_frozen() -> None:
    frozen = count_step(sd1(), 256)
    sd1().unet.requires_grad_(True)
    try:
        counted = count_step(sd1(), 256)
    finally:
        sd1().unet.requires_grad_(False)
    assert counted.forward == frozen.forward
    assert counted.ratio - frozen.ratio == pytest.approx(1.0, abs=0.05)
    assert counted.layers_ratio > 2.5


def test_the_text_encoder_costs_little() -> None:
    # Forward of CLIP ViT-L/14's transformer for 77 tokens, and about as much again backward.
    forward = 12 * 77 * (2 * 4 * 768 * 768 + 2 * 2 * 768 * 3072 + 2 * 2 * 77 * 768)
    assert 1.5 * forward < count_text_encoders("SD1") < 2.1 * forward
    assert at_512().text_encoder == count_text_encoders("SD1")
    assert at_512().text_encoder < 0.04 * at_512().forward


def share_of(**options: Any) -> float:
    spec = TrainingSpec.from_json({"embedding": "sword", "dataset": "pictures", **options})
    return evaluation_share(resolve(spec, 512), EVALUATION_ITEMS, at_512())


def test_the_share_of_evaluations() -> None:
    """A step of an image costs a little more than two evaluated items."""
    options = {"steps": 64, "batch_size": 4, "eval_every": 32, "learning_rate": "0.01", "early_stopping": False}
    assert share_of(**options) == pytest.approx(48 / (48 + 64 * 4 * 2.068), rel=0.01)  # after steps 0, 32 and 64
    assert share_of(**options, gradient_accumulation_steps=2) < 0.6 * share_of(**options)
    assert share_of(**{**options, "learning_rate": "0.01:32"}) > share_of(**options)  # ends at step 32
    assert share_of(**{**options, "eval_every": 0}) == 0
    assert share_of(**{**options, "early_stopping": True}) == share_of(**{**options, "steps": 32})  # half of the steps


@pytest.mark.parametrize("preset", PRESET_NAMES)
def test_evaluations_are_a_tenth_of_a_preset_at_most(preset: str) -> None:
    assert share_of(preset=preset) <= 0.1


def test_what_the_table_says() -> None:
    row = at_512().to_json()
    assert CASES[0] == (row["family"], row["resolution"]) == ("SD1", 512)
    assert row["ratio"] == row["step_tflop"] / row["forward_tflop"]
    assert row["forward_tflop"] == at_512().forward / 1e12
