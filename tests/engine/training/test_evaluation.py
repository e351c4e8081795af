"""Fixed-noise evaluation: the same items give the same losses, and differences are paired."""

from __future__ import annotations

import pytest
import torch

from train_embedding.engine.model.diffusion_model import DiffusionModel
from train_embedding.engine.model.noise_schedule import add_noise
from train_embedding.engine.training.evaluation import EvaluationSet, evaluation_losses, evaluation_set
from train_embedding.engine.training.losses import per_sample_losses

CAPTIONS = ("a [name] star", "a sword on a gray background", "nothing")


def items(model: DiffusionModel, seed: int = 1, repeats: int = 8) -> EvaluationSet:
    latents = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    return evaluation_set(model, latents, CAPTIONS, "sword", 2, repeats=repeats, seed=seed)


def table(seed: int) -> dict[str, torch.Tensor]:
    return {"clip_l": torch.randn(2, 64, generator=torch.Generator().manual_seed(seed))}


def test_items(tiny_model: DiffusionModel) -> None:
    made = items(tiny_model)
    assert made.latents.shape == made.noise.shape == (24, 4, 8, 8)
    assert all(torch.equal(made.latents[8 * picture], made.latents[8 * picture + 7]) for picture in range(3))
    assert len({tuple(noise.flatten().tolist()) for noise in made.noise}) == 24
    for picture in range(3):  # each picture at each eighth of the schedule
        assert (made.timesteps[8 * picture : 8 * picture + 8] // 125).tolist() == list(range(8))
    taken = (made.prompts.slots >= 0).sum((1, 2)).tolist()
    assert taken == [2] * 16 + [0] * 8


def test_the_same_items_give_the_same_losses(tiny_model: DiffusionModel) -> None:
    one, other = (evaluation_losses(tiny_model, table(1), items(tiny_model)) for _ in range(2))
    assert one.shape == (24,)
    assert torch.equal(one, other)
    assert not torch.equal(one, evaluation_losses(tiny_model, table(1), items(tiny_model, seed=2)))


def test_only_captions_with_the_embedding_change(tiny_model: DiffusionModel) -> None:
    fixed = items(tiny_model)
    before, after = evaluation_losses(tiny_model, table(1), fixed), evaluation_losses(tiny_model, table(2), fixed)
    assert (before[:16] != after[:16]).all()
    assert torch.allclose(before[16:], after[16:], atol=1e-6)


@torch.no_grad()
def test_a_loss_is_that_of_its_item(tiny_model: DiffusionModel) -> None:
    fixed = items(tiny_model)
    losses = evaluation_losses(tiny_model, table(1), fixed)
    one = slice(20, 21)
    noisy = add_noise(fixed.latents[one], fixed.noise[one], tiny_model.alphas_cumprod, fixed.timesteps[one])
    context = tiny_model.encode_prompts(type(fixed.prompts)(fixed.prompts.ids[one], fixed.prompts.slots[one]), table(1))
    expected = per_sample_losses(tiny_model.predict(noisy, fixed.timesteps[one], context), fixed.noise[one])
    assert float(losses[20]) == pytest.approx(float(expected), rel=1e-4)
