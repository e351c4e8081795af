"""The context term: what the text encoder makes of the other words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from train_embedding.engine.config.spec import TrainingSpec, resolve
from train_embedding.engine.data.image_folder import TrainingImage
from train_embedding.engine.data.latents import EncodedImage, LatentDataset
from train_embedding.engine.model.diffusion_model import DiffusionModel, LatentMoments
from train_embedding.engine.prompts.splicing import VectorRows, batch_prompts, tokenize_pieces
from train_embedding.engine.training import core_loss
from train_embedding.engine.training.core_loss import PROMPTS, CoreLoss
from train_embedding.engine.training.loop import LoopHooks, train
from train_embedding.engine.training.state import new_state


def start(model: DiffusionModel) -> dict[str, torch.Tensor]:
    return model.token_embeddings("red star")


def moved(model: DiffusionModel, distance: float) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {key: table + distance * torch.randn(table.shape, generator=generator) for key, table in start(model).items()}


def test_at_the_start_it_is_zero(tiny_model: DiffusionModel) -> None:
    term = CoreLoss(tiny_model, start(tiny_model), 0)
    assert float(term.loss(start(tiny_model), 1)) == pytest.approx(0, abs=1e-6)
    assert float(term.loss(moved(tiny_model, 0.5), 1)) > 1e-4


@torch.no_grad()
def test_it_is_the_mean_distance_of_the_other_tokens(tiny_model: DiffusionModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core_loss, "PROMPTS", ("a [name] in the snow",))
    term = CoreLoss(tiny_model, start(tiny_model), 0)
    prompts = batch_prompts([tokenize_pieces(["a ", VectorRows(0, 2), " in the snow"])])
    encoded = [tiny_model.encode_prompts(prompts, tables).context[0] for tables in (start(tiny_model), moved(tiny_model, 0.5))]
    distances = 1 - F.cosine_similarity(*encoded, dim=-1)
    others = [index for index in range(77) if index not in (2, 3)]
    assert float(term.loss(moved(tiny_model, 0.5), 7)) == pytest.approx(float(distances[others].mean()), rel=1e-5)
    assert float(distances[2:4].mean()) > float(distances[others].mean()), "the embedding's own tokens change most"


def test_its_prompt_follows_from_the_seed_and_the_step(tiny_model: DiffusionModel) -> None:
    one, same, other = (CoreLoss(tiny_model, start(tiny_model), seed) for seed in (0, 0, 1))
    vectors = moved(tiny_model, 0.5)
    losses = [[float(term.loss(vectors, step)) for step in range(1, 9)] for term in (one, same, other)]
    assert losses[0] == losses[1] != losses[2]
    assert len(set(losses[0])) > 1


def test_every_prompt_names_the_embedding_once() -> None:
    assert all(prompt.count("[name]") == 1 for prompt in PROMPTS)
    assert len(set(PROMPTS)) == len(PROMPTS)


def test_training_with_it_keeps_the_other_words(tiny_model: DiffusionModel) -> None:
    """The same run with and without: the term ends lower, and its gradient reaches nothing but the vectors."""
    generator = torch.Generator().manual_seed(4)
    moments = tiny_model.encode_images(torch.rand(2, 3, 64, 64, generator=generator) * 2 - 1)
    pictures = [
        EncodedImage(
            TrainingImage(f"{i}.png", Path(f"{i}.png"), "", (64, 64), (64, 64)), LatentMoments(moments.mean[i], moments.std[i])
        )
        for i in range(2)
    ]
    spec = TrainingSpec(
        embedding="sword", dataset="x", steps=20, batch_size=2, learning_rate="0.02", template=("a [name]",), ema_decay=0.0,
        eval_every=0, lr_cooldown_steps=0,
    )  # fmt: skip
    measure = CoreLoss(tiny_model, start(tiny_model), 9)
    ends: list[float] = []
    for weight in (0.0, 30.0):
        resolved = resolve(replace(spec, core_loss_weight=weight), 64)
        state = new_state(start(tiny_model), resolved, torch.device("cpu"))
        core_loss = CoreLoss(tiny_model, start(tiny_model), 0) if weight else None
        hooks = LoopHooks(lambda _: torch.ones(2), lambda _: None, lambda: False, core_loss)
        train(tiny_model, state, LatentDataset(pictures, resolved, 2), resolved, hooks)
        ends.append(sum(float(measure.loss(state.vectors, step).detach()) for step in range(1, 9)))
    assert ends[1] < 0.7 * ends[0], ends
    assert all(parameter.grad is None for module in tiny_model.modules() for parameter in module.parameters())
