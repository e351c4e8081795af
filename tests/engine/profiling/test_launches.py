"""Kernels of a step at true size: the casts of frozen weights are gone, and nothing is counted that a GPU does not do."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from train_embedding.engine.model.diffusion_model import DiffusionModel
from train_embedding.engine.profiling import launches
from train_embedding.engine.profiling.launches import (
    LaunchCounter,
    StepLaunches,
    count_launches,
    count_text_encoders,
    launch_table,
)
from train_embedding.engine.profiling.meta_models import WEIGHTS, meta_model

AIM = 1700


@cache
def sd1() -> DiffusionModel:
    return meta_model("SD1", WEIGHTS)


@cache
def at_512(autocast: torch.dtype | None = None) -> StepLaunches:
    return count_launches(sd1(), 512, autocast=autocast)


def test_what_is_a_launch() -> None:
    values = torch.ones(4, 4, device="meta")
    with LaunchCounter() as counter:
        hidden = values.view(16)[:8].half()  # one, the cast
        hidden.mul_(2)
        torch.empty(3, device="meta")
        hidden.reshape(2, 4).t().contiguous()
    assert counter.counts == {"aten::_to_copy": 1, "aten::mul_": 1, "aten::clone": 1}
    assert (counter.total, counter.casts, counter.cast_bytes) == (3, 1, 8 * 4 + 8 * 2)


def test_a_step_of_sd1() -> None:
    assert at_512().unet < AIM
    assert at_512().casts <= 10  # of the latents, the loss, time and vectors


def test_autocast_would_more_than_double_them() -> None:
    autocast = at_512(torch.bfloat16)
    assert autocast.casts > 2000
    assert autocast.unet > 2 * at_512().unet
    weights = sum(parameter.nbytes for parameter in sd1().unet.parameters())
    assert autocast.cast_bytes > 2 * 2 * weights  # each is read and written, forwards and backwards


@pytest.mark.slow
@pytest.mark.parametrize(("family", "side", "most"), [("SD2", 768, AIM), ("SDXL", 1024, 4500)])
def test_the_other_families(family: str, side: int, most: int) -> None:
    counted = count_launches(meta_model(family, WEIGHTS), side)
    assert counted.unet < most
    assert counted.casts <= 20


def test_text_encoders_cast_only_the_vectors() -> None:
    assert count_text_encoders("SD1", WEIGHTS).casts <= 6
    assert at_512().text_encoders == count_text_encoders("SD1", WEIGHTS).total


@pytest.mark.slow
def test_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launches, "CASES", (("SD1", 64),))
    assert [(row["family"], row["resolution"], row["autocast"]) for row in launch_table()] == [
        ("SD1", 64, ""), ("SD1", 64, "bfloat16"),
    ]  # fmt: skip
