"""What a run carries from step to step."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from train_embedding.engine.config.spec import TrainingSpec, resolve
from train_embedding.engine.training.early_stopping import Verdict
from train_embedding.engine.training.state import MAX_KEPT, TrainState, new_state
from train_embedding.errors import InvalidSpec, TrainingFailed

SPEC = TrainingSpec(embedding="sword", dataset="x", steps=100, learning_rate="0.01")


def state(optimizer: str = "adamw") -> TrainState:
    start = {"clip_l": torch.full((2, 3), 0.5), "clip_g": torch.ones(2, 4)}
    spec = TrainingSpec(embedding="sword", dataset="x", steps=100, learning_rate="0.01", optimizer=optimizer)
    return new_state(start, resolve(spec, 64), torch.device("cpu"))


def stepped(made: TrainState, steps: int) -> TrainState:
    for _ in range(steps):
        made.step += 1
        for tensor in made.trainable():
            tensor.grad = torch.randn(tensor.shape, generator=torch.Generator().manual_seed(made.step))
        made.optimizer.step()
        made.update_ema(0.5)
    return made


def test_the_start_is_copied() -> None:
    start = {"clip_l": torch.ones(2, 3)}
    made = new_state(start, resolve(SPEC, 64), torch.device("cpu"))
    assert made.vectors["clip_l"].requires_grad
    assert made.vectors["clip_l"].is_leaf
    stepped(made, 1)
    assert torch.equal(start["clip_l"], torch.ones(2, 3))
    assert not torch.equal(made.ema["clip_l"], start["clip_l"])


@pytest.mark.parametrize("optimizer", ["adamw", "direction"])
def test_one_text_encoder_alone_is_trained(optimizer: str) -> None:
    start = {"clip_l": torch.full((2, 3), 0.5), "clip_g": torch.ones(2, 4)}
    spec = replace(SPEC, encoders="clip_l", optimizer=optimizer)
    made = new_state(start, resolve(spec, 64), torch.device("cpu"))
    assert [tensor.shape for tensor in made.trainable()] == [(2, 3)]
    assert not made.vectors["clip_g"].requires_grad
    stepped(made, 2)
    assert torch.equal(made.vectors["clip_g"], start["clip_g"])
    assert torch.equal(made.ema["clip_g"], start["clip_g"])
    assert not torch.equal(made.vectors["clip_l"].detach(), start["clip_l"])
    with pytest.raises(InvalidSpec) as caught:
        new_state({"clip_l": torch.ones(1, 3)}, resolve(replace(SPEC, encoders="clip_g"), 64), torch.device("cpu"))
    assert caught.value.message == "The checkpoint does not have the text encoder OpenCLIP-bigG."
    assert caught.value.hint == 'Set "Text encoders" to CLIP-L.'


@pytest.mark.parametrize("optimizer", ["adamw", "direction"])
def test_what_is_saved_goes_on_to_the_same_bits(optimizer: str) -> None:
    made = stepped(state(optimizer), 3)
    made.record(torch.tensor([1.0, 2.0]))
    made.apply_verdict(Verdict.CONVERGED, 5)
    saved = made.to_saved()
    loaded = state(optimizer)
    loaded.load(saved)
    assert (loaded.step, loaded.ending, loaded.verdict) == (3, 8, Verdict.CONVERGED)
    assert torch.equal(loaded.evaluations[0].losses, torch.tensor([1.0, 2.0]).double())
    assert set(loaded.kept) == {3}
    stepped(made, 4)
    stepped(loaded, 4)
    for key in made.vectors:
        assert torch.equal(loaded.vectors[key], made.vectors[key])
        assert torch.equal(loaded.ema[key], made.ema[key])


def test_saving_copies() -> None:
    made = state()
    saved = made.to_saved()
    stepped(made, 1)
    assert torch.equal(saved["vectors"]["clip_g"], torch.ones(2, 4))


def test_the_best_is_chosen_and_the_start_where_nothing_is_better() -> None:
    made = state()
    for losses in ([1.0, 1.0], [0.5, 0.6], [0.9, 0.9]):
        made.record(torch.tensor(losses))
        stepped(made, 10)
    assert made.best_vectors()[0] == 10
    worse = state()
    for losses in ([1.0, 1.0], [1.5, 1.6], [1.3, 1.2]):
        worse.record(torch.tensor(losses))
        stepped(worse, 10)
    step, vectors = worse.best_vectors()
    assert step == 0
    assert torch.equal(vectors["clip_l"], torch.full((2, 3), 0.5))
    assert worse.best_vectors(after=0)[0] == 20


def test_so_many_are_kept() -> None:
    made = state()
    generator = torch.Generator().manual_seed(0)
    for step in range(MAX_KEPT + 40):
        made.record(1 + torch.rand(4, generator=generator) * (1 if step else 0) - step / 200)
        made.step += 1
    assert len(made.kept) == MAX_KEPT
    assert 0 in made.kept
    assert made.best_vectors()[0] in made.kept


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_no_evaluation_that_is_no_number(value: float) -> None:
    made = state()
    with pytest.raises(TrainingFailed, match="NaN or infinite at step 0"):
        made.record(torch.tensor([1.0, value]))
    assert made.evaluations == []


def test_the_stop_rule_sets_the_end() -> None:
    made = stepped(state(), 4)
    made.apply_verdict(Verdict.UNDECIDED, 50)
    assert made.ending is None
    made.apply_verdict(Verdict.NOT_LEARNING, 50)
    assert made.ending == 4


def test_how_far_it_moved() -> None:
    made = state()
    made.record(torch.tensor([1.0, 1.0]))
    assert made.relative_change() == 0
    made.ema["clip_l"] += 1
    assert made.relative_change() == pytest.approx((6 / (6 * 0.25 + 8)) ** 0.5)
