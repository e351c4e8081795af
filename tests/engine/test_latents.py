"""Cached latents and the batches made of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from train_embedding.engine.dataset import Picture
from train_embedding.engine.latents import Batch, LatentDataset, encode_pictures
from train_embedding.engine.model import DiffusionModel, LatentMoments
from train_embedding.engine.spec import TrainingSpec, resolve
from train_embedding.engine.tokenizer import token_ids
from train_embedding.errors import TrainingFailed

PICTURES = 5
SPEC = TrainingSpec(embedding="sword", dataset="x", batch_size=2, template=("a [name], [filewords]",))


def pictures(count: int = PICTURES) -> list[Picture]:
    generator = torch.Generator().manual_seed(3)
    return [Picture(Path(f"{i}.png"), torch.rand(3, 64, 64, generator=generator) * 2 - 1, f"tag{i}") for i in range(count)]


def dataset(spec: TrainingSpec = SPEC, vectors: int = 1) -> LatentDataset:
    """Picture i has the mean i and the deviation 0.01."""
    mean = torch.arange(PICTURES).float()[:, None, None, None].expand(-1, 4, 2, 2)
    return LatentDataset(LatentMoments(mean, torch.full_like(mean, 0.01)), pictures(), resolve(spec, 16), vectors)


def chosen(batch: Batch) -> list[int]:
    """Which pictures a batch shows."""
    return [round(float(latent.mean())) for latent in batch.latents]


def same(one: Batch, other: Batch) -> bool:
    numbers = [torch.randn(3, generator=batch.generator) for batch in (one, other)]
    pairs = [(one.latents, other.latents), (one.prompts.ids, other.prompts.ids), (one.prompts.slots, other.prompts.slots)]
    return all(torch.equal(*pair) for pair in [*pairs, (numbers[0], numbers[1])])


def test_a_batch_depends_on_the_seed_and_the_step_alone() -> None:
    spec = replace(SPEC, latent_sampling="random", shuffle_tags=True, tag_dropout=0.5)
    one, other = dataset(spec), dataset(spec)
    for step in range(1, 6):
        one.batch(step)
    assert same(one.batch(7), other.batch(7))
    assert same(one.batch(7), one.batch(7))
    assert not same(one.batch(7), one.batch(8))
    assert not same(one.batch(7), dataset(replace(spec, seed=1)).batch(7))


def test_the_choice_of_captions_follows_from_the_seed() -> None:
    def where_the_name_stands(seed: int) -> list[int]:
        template = tuple("the " * number + "[name]" for number in range(10))
        data = dataset(replace(SPEC, seed=seed, template=template))
        slots = torch.cat([data.batch(step).prompts.slots for step in range(1, 11)])
        return [int(slot.argmax()) for slot in slots[:, 0]]

    assert where_the_name_stands(0) == where_the_name_stands(0) != where_the_name_stands(1)
    assert len(set(where_the_name_stands(0))) > 4


def test_every_picture_once_per_epoch() -> None:
    data = dataset()
    epochs = 6
    shown = [picture for step in range(1, PICTURES * epochs // 2 + 1) for picture in chosen(data.batch(step))]
    orders = [tuple(shown[start : start + PICTURES]) for start in range(0, len(shown), PICTURES)]
    assert all(sorted(order) == list(range(PICTURES)) for order in orders)
    assert len(set(orders)) > 1


def test_a_batch_larger_than_the_folder() -> None:
    counts = Counter(chosen(dataset(replace(SPEC, batch_size=12)).batch(1)))
    assert sorted(counts.values()) == [2, 2, 2, 3, 3]


@pytest.mark.parametrize(
    ("sampling", "varies", "is_mean"), [("deterministic", False, True), ("once", False, False), ("random", True, False)]
)
def test_latent_sampling(sampling: str, varies: bool, is_mean: bool) -> None:
    data = dataset(replace(SPEC, latent_sampling=sampling))
    seen: dict[int, list[torch.Tensor]] = {}
    for step in range(1, 11):
        batch = data.batch(step)
        for picture, latent in zip(chosen(batch), batch.latents, strict=True):
            seen.setdefault(picture, []).append(latent)
    for picture, latents in seen.items():
        assert any(not torch.equal(latents[0], other) for other in latents[1:]) == varies
        assert torch.equal(latents[0], torch.full((4, 2, 2), float(picture))) == is_mean
        assert (torch.stack(latents) - picture).abs().max() < 0.06


def test_captions_name_the_embedding() -> None:
    batch = dataset(vectors=3).batch(1)
    assert batch.prompts.slots.shape == (2, 1, 77)
    for picture, ids, slots in zip(chosen(batch), batch.prompts.ids[:, 0], batch.prompts.slots[:, 0], strict=True):
        words = token_ids(f", tag{picture}")
        assert slots[2:5].tolist() == [0, 1, 2]
        assert ids[5 : 5 + len(words)].tolist() == words


def test_a_caption_file_may_say_the_name_itself() -> None:
    data = LatentDataset(
        LatentMoments(torch.zeros(1, 4, 2, 2), torch.zeros(1, 4, 2, 2)),
        [Picture(Path("a.png"), torch.zeros(3, 16, 16), "a Sword, swordfish")],
        resolve(replace(SPEC, batch_size=1, template=("[filewords]",), tag_dropout=0.99), 16),
        2,
    )
    for step in range(1, 20):
        assert int((data.batch(step).prompts.slots >= 0).sum()) == 2  # neither dropped nor put in front once more


def test_moments_of_every_picture(tiny_model: DiffusionModel) -> None:
    three = pictures(3)
    moments = encode_pictures(tiny_model, three)
    posterior = tiny_model.vae.encode(torch.stack([picture.pixels for picture in three])).latent_dist
    assert torch.allclose(moments.mean, posterior.mean * tiny_model.latent_scale, atol=1e-5)
    assert torch.allclose(moments.std, posterior.std * tiny_model.latent_scale, atol=1e-5)
    assert not moments.mean.requires_grad


def test_encoding_stops_when_asked(tiny_model: DiffusionModel) -> None:
    answers = iter([False, False, True])
    assert len(encode_pictures(tiny_model, pictures(), lambda: next(answers)).mean) == 2
    assert encode_pictures(tiny_model, pictures(), lambda: True).mean.numel() == 0


def test_a_vae_that_answers_nan(tiny_model: DiffusionModel) -> None:
    bad = replace(pictures(1)[0], pixels=torch.full((3, 64, 64), torch.nan))
    with pytest.raises(TrainingFailed, match="into NaN"):
        encode_pictures(tiny_model, [*pictures(1), bad])
