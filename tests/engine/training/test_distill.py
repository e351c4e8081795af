"""Distilling a prompt."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from train_embedding.engine.config.spec import TrainingSpec, resolve
from train_embedding.engine.data.latents import LatentDataset
from train_embedding.engine.model.diffusion_model import DiffusionModel, empty_vector_tables
from train_embedding.engine.model.noise_schedule import add_noise, draw_timesteps
from train_embedding.engine.prompts.splicing import batch_prompts, tokenize_pieces
from train_embedding.engine.training import loop
from train_embedding.engine.training.distill import LATENTS, distillation_spec, encode_teacher, sample_teacher_latents
from train_embedding.errors import InvalidInput

SPEC = TrainingSpec(embedding="sword", dataset="", teacher_prompt="a big red star on a white background", steps=3, batch_size=2)
SIZE = 16


def test_the_teacher_may_be_longer_than_a_prompt(tiny_model: DiffusionModel) -> None:
    assert encode_teacher(tiny_model, "star " * 74).context.shape == (1, 77, 64)
    long = encode_teacher(tiny_model, "star " * 100)
    assert long.context.shape == (1, 2 * 77, 64)
    expected = tiny_model.encode_prompts(batch_prompts([tokenize_pieces(["star " * 100])]), empty_vector_tables(tiny_model))
    assert torch.equal(long.context, expected.context)


@torch.no_grad()
def test_the_teacher_is_read_as_the_webui_reads_a_prompt(tiny_model: DiffusionModel) -> None:
    teacher = encode_teacher(tiny_model, r"a \(red\) ball, (blue:1.4) sky, [grey] stone, BREAK green leaf <lora:x:1> # a note")
    literal = tiny_model.encode_prompts(
        batch_prompts([[*tokenize_pieces(["a (red) ball, blue sky, grey stone,"]), *tokenize_pieces(["green leaf"])]]),
        empty_vector_tables(tiny_model),
    ).context
    weights = torch.ones(77)
    weights[7], weights[10] = 1.4, 1 / 1.1
    first = literal[:, :77] * weights[:, None]
    first = first * (literal[:, :77].mean() / first.mean())
    assert torch.allclose(teacher.context, torch.cat([first, literal[:, 77:]], 1), atol=1e-5)


@pytest.mark.parametrize(
    ("prompt", "sentence"),
    [
        ("a cat AND a dog", "AND"),
        ("a [cat:dog:0.5]", "changes over the sampling steps"),
        ("a [cat|dog]", "changes over the sampling steps"),
        ("(a:1.2.3)", "not a number"),
    ],
)
def test_a_teacher_that_is_more_than_one_text(tiny_model: DiffusionModel, prompt: str, sentence: str) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        encode_teacher(tiny_model, prompt)


def test_scenes_follow_from_the_seed(tiny_model: DiffusionModel) -> None:
    resolved = resolve(replace(SPEC, width=SIZE, height=SIZE), 64)
    answers = iter([False, False, True])
    scenes = sample_teacher_latents(tiny_model, resolved, lambda: next(answers))
    assert len(scenes) == 8 < LATENTS
    assert scenes[0].moments.mean.shape == (4, SIZE // 8, SIZE // 8)
    answers = iter([False, True])
    again = sample_teacher_latents(tiny_model, resolved, lambda: next(answers))
    assert all(torch.equal(one.moments.mean, other.moments.mean) for one, other in zip(again, scenes, strict=False))
    other = sample_teacher_latents(
        tiny_model, replace(resolved, spec=replace(resolved.spec, seed=1)), iter([False, True]).__next__
    )
    assert not torch.equal(other[0].moments.mean, scenes[0].moments.mean)


def test_the_target_is_what_the_teacher_predicts(tiny_model: DiffusionModel) -> None:
    resolved = resolve(replace(SPEC, width=SIZE, height=SIZE, timesteps="uniform"), 64)
    scenes = sample_teacher_latents(tiny_model, resolved, iter([False, True]).__next__)
    teacher = encode_teacher(tiny_model, SPEC.teacher_prompt)
    data = LatentDataset(scenes, distillation_spec(resolved), 2, teacher=teacher)
    vectors = {"clip_l": torch.randn(2, 64, generator=torch.Generator().manual_seed(0))}
    with torch.no_grad():
        loss = loop.batch_loss(tiny_model, vectors, data.batch(1), resolved.spec)
        batch = data.batch(1)
        timesteps = draw_timesteps("uniform", 2, 1000, batch.generator)
        noise = torch.randn(batch.latents.shape, generator=batch.generator)
        noisy = add_noise(batch.latents, noise, tiny_model.alphas_cumprod, timesteps)
        wanted = tiny_model.predict(noisy, timesteps, teacher.map(lambda row: row.expand(2, *row.shape[1:])))
        got = tiny_model.predict(noisy, timesteps, tiny_model.encode_prompts(batch.prompts, vectors))
    assert loss.item() == pytest.approx((wanted - got).square().mean().item(), rel=1e-4)


def test_the_teachers_own_vectors_leave_no_loss(tiny_model: DiffusionModel) -> None:
    """A prompt distilled into as many vectors as it has tokens is solved by its tokens' embeddings."""
    resolved = resolve(replace(SPEC, width=SIZE, height=SIZE), 64)
    scenes = sample_teacher_latents(tiny_model, resolved, iter([False, True]).__next__)
    vectors = tiny_model.token_embeddings(SPEC.teacher_prompt)
    data = LatentDataset(
        scenes, distillation_spec(resolved), len(vectors["clip_l"]), teacher=encode_teacher(tiny_model, SPEC.teacher_prompt)
    )
    with torch.no_grad():
        assert loop.batch_loss(tiny_model, vectors, data.batch(1), resolved.spec).item() < 1e-9
