"""What a step costs at the true size of Stable Diffusion 1.5: the UNet forward, and the backward to the context alone."""

from __future__ import annotations

import pytest

from train_embedding.engine.flops import CASES, StepFlops, count_step, count_text_encoder, meta_sd1
from train_embedding.engine.model import DiffusionModel


@pytest.fixture(scope="module")
def sd1() -> DiffusionModel:
    return meta_sd1()


@pytest.fixture(scope="module")
def at_512(sd1: DiffusionModel) -> StepFlops:
    return count_step(sd1, 512)


def test_it_is_the_true_size(sd1: DiffusionModel, at_512: StepFlops) -> None:
    assert sum(parameter.numel() for parameter in sd1.unet.parameters()) == 859_520_964  # as published
    assert {parameter.device.type for parameter in sd1.unet.parameters()} == {"meta"}
    assert at_512.forward / 1e12 == pytest.approx(0.803, abs=0.002)


def test_a_step_is_the_floor(at_512: StepFlops) -> None:
    assert at_512.step / 1e12 == pytest.approx(1.669, abs=0.01)
    assert at_512.ratio <= 2.10


def test_counting_notices_a_unet_that_is_not_frozen(sd1: DiffusionModel, at_512: StepFlops) -> None:
    sd1.unet.requires_grad_(True)
    try:
        counted = count_step(sd1, 512)
    finally:
        sd1.unet.requires_grad_(False)
    assert counted.forward == at_512.forward
    assert counted.ratio == pytest.approx(3.0, abs=0.02)


def test_the_text_encoder_costs_little(at_512: StepFlops) -> None:
    # Forward of CLIP ViT-L/14's transformer for 77 tokens, and about as much again backward.
    forward = 12 * 77 * (2 * 4 * 768 * 768 + 2 * 2 * 768 * 3072 + 2 * 2 * 77 * 768)
    assert 1.5 * forward < count_text_encoder() < 2.1 * forward
    assert at_512.text_encoder == count_text_encoder()
    assert at_512.text_encoder < 0.04 * at_512.forward


def test_what_the_table_says(at_512: StepFlops) -> None:
    row = at_512.to_json()
    assert CASES[0] == (row["family"], row["resolution"]) == ("SD1", 512)
    assert row["ratio"] == row["step_tflop"] / row["forward_tflop"]
    assert row["forward_tflop"] == at_512.forward / 1e12
