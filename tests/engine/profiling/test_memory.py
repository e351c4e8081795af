"""Memory of a step at true size, and that the counting is right."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from train_embedding.engine.model.diffusion_model import DiffusionModel
from train_embedding.engine.profiling import memory
from train_embedding.engine.profiling.memory import (
    CARDS,
    MemoryCounter,
    StepMemory,
    count_memory,
    memory_table,
    text_encoder_saved,
)
from train_embedding.engine.profiling.meta_models import WEIGHTS, meta_model
from train_embedding.engine.profiling.simulated_cuda import simulate_cuda


@cache
def sd1() -> DiffusionModel:
    return meta_model("SD1", WEIGHTS)


@cache
def counted(batch: int = 1, checkpointing: bool = False, frozen: bool = True, autocast: torch.dtype | None = None) -> StepMemory:
    return count_memory(sd1(), 512, batch=batch, checkpointing=checkpointing, frozen=frozen, autocast=autocast)


def test_what_is_saved_is_counted_once_and_without_the_weights() -> None:
    layer = nn.Linear(8, 8).requires_grad_(False)
    values = torch.ones(4, 8, requires_grad=True)
    counter = MemoryCounter([layer])
    with counter.saving():
        hidden = layer(values)  # saves its weight
        (hidden.sigmoid() + hidden * hidden).sum()  # the sigmoid saves its output, the product twice the same input
    assert counter.saved == 2 * values.nbytes


def test_the_peak_is_that_of_what_lives_at_the_same_time() -> None:
    counter = MemoryCounter([])
    with counter:
        for _ in range(3):
            values = torch.ones(1000, device="meta")
            values = values * 2
            del values
        assert counter.held == 0
        view = torch.ones(10, device="meta")[:5]
        assert counter.held == 40
    assert counter.peak == 2 * 4000
    del view
    assert counter.held == 0


def test_as_on_cuda() -> None:
    given = torch.ones(1, 2, 4, dtype=torch.float16)
    before = (F.linear, F.layer_norm, F.scaled_dot_product_attention)
    with simulate_cuda(torch.bfloat16):
        assert F.linear(given, torch.ones(3, 4, dtype=torch.float16)).dtype == torch.bfloat16
        assert F.layer_norm(given, (4,)).dtype == torch.float32
    assert (F.linear, F.layer_norm, F.scaled_dot_product_attention) == before


def test_sd1_at_512() -> None:
    """What fits a card of 4 GB needs one of 6 GB with torch's layers and autocast, as other trainers compute."""
    frozen, plain, autocast = counted(), counted(frozen=False), counted(frozen=False, autocast=torch.bfloat16)
    assert frozen.weights == pytest.approx(2 * (859.5e6 + 83.7e6 + 123.1e6), rel=0.001)  # as published, fp16
    assert frozen.saved < 0.5 * 2**30 < 2.5 * 2**30 < autocast.saved
    assert frozen.saved < 0.7 * plain.saved
    assert frozen.saved < frozen.peak < 1.25 * frozen.saved
    assert (frozen.smallest_card, autocast.smallest_card) == (4, 6)


@pytest.mark.slow
def test_checkpointing_saves_less_again() -> None:
    assert counted(checkpointing=True).saved < 0.3 * counted().saved
    assert counted(checkpointing=True).peak < 0.5 * counted().peak
    assert counted(checkpointing=True, frozen=False).peak > 1.2 * counted(checkpointing=True).peak


@pytest.mark.slow
def test_the_batch_multiplies_activations_alone() -> None:
    assert counted(4).saved == pytest.approx(4 * counted().saved, rel=0.01)
    assert counted(4).weights == counted().weights


@pytest.mark.slow
@pytest.mark.parametrize(("family", "side", "saved", "card"), [("SD2", 768, 1.04, 6), ("SDXL", 1024, 3.77, 12)])
def test_the_other_families(family: str, side: int, saved: float, card: int) -> None:
    one = count_memory(meta_model(family, WEIGHTS), side)
    assert one.saved / 2**30 == pytest.approx(saved, abs=0.1)
    assert one.smallest_card == card


def test_text_encoders_keep_little() -> None:
    kept = text_encoder_saved("SD1", 1, True)
    assert 0 < kept < 0.05 * 2**30
    assert text_encoder_saved("SD1", 1, False, torch.bfloat16) > 5 * kept  # autocast keeps copies of its weights


def test_the_smallest_card() -> None:
    def card(peak: float) -> int:
        return StepMemory("SD1", 512, 1, False, True, None, 0, int(peak * 2**30), 2**31).smallest_card

    assert [card(peak) for peak in (0.9, 1.0, 1.1, 76.9, 77.1)] == [4, 4, 6, 80, 0]
    assert list(CARDS) == sorted(CARDS)


@pytest.mark.slow
def test_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "CASES", (("SD1", 64),))
    monkeypatch.setattr(memory, "BATCHES", (1,))
    rows = memory_table()
    assert [(row["frozen_layers"], row["checkpointing"], row["autocast"]) for row in rows] == [
        (False, False, "bfloat16"), (False, False, ""), (True, False, ""), (False, True, ""), (True, True, ""),
    ]  # fmt: skip
    assert {(row["family"], row["resolution"], row["batch"]) for row in rows} == {("SD1", 64, 1)}
    assert all(row["peak_gib"] > row["saved_gib"] > 0 for row in rows)
