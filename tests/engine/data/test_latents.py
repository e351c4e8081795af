"""Cached latents and the batches made of them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from train_embedding.engine.config.spec import TrainingSpec, resolve
from train_embedding.engine.data import latents as latents_module
from train_embedding.engine.data.image_folder import ImageOptions, TrainingImage, scan_folder
from train_embedding.engine.data.latent_cache import LatentCache
from train_embedding.engine.data.latents import Batch, EncodedImage, LatentDataset, encode_dataset
from train_embedding.engine.model.diffusion_model import DiffusionModel, LatentMoments
from train_embedding.engine.prompts.tokenizer import token_ids
from train_embedding.errors import NotFound, TrainingFailed

PICTURES = 5
SPEC = TrainingSpec(embedding="sword", dataset="x", batch_size=2, template=("a [name], [filewords]",))


def picture(index: int, target: tuple[int, int] = (16, 16), **values: Any) -> TrainingImage:
    return TrainingImage(f"{index}.png", Path(f"{index}.png"), f"tag{index}", target, target, **values)


def encoded(index: int, target: tuple[int, int] = (16, 16), **values: Any) -> EncodedImage:
    """Image i has the mean i, mirrored i + 0.25, and the deviation 0.01."""
    mean = torch.full((4, target[1] // 8, target[0] // 8), float(index))
    std = torch.full_like(mean, 0.01)
    return EncodedImage(picture(index, target, **values), LatentMoments(mean, std), LatentMoments(mean + 0.25, std))


def dataset(spec: TrainingSpec = SPEC, vectors: int = 1, pictures: Sequence[EncodedImage] | None = None) -> LatentDataset:
    given = [encoded(index) for index in range(PICTURES)] if pictures is None else pictures
    return LatentDataset(given, resolve(spec, 16), vectors)


def chosen(batch: Batch) -> list[int]:
    """Which pictures a batch shows."""
    return [int(float(latent.mean()) + 0.1) for latent in batch.latents]


def same(one: Batch, other: Batch) -> bool:
    numbers = [torch.randn(3, generator=batch.generator) for batch in (one, other)]
    pairs = [(one.latents, other.latents), (one.prompts.ids, other.prompts.ids), (one.prompts.slots, other.prompts.slots)]
    return all(torch.equal(*pair) for pair in [*pairs, (numbers[0], numbers[1])])


def test_a_batch_depends_on_the_seed_and_the_step_alone() -> None:
    spec = replace(SPEC, latent_sampling="random", shuffle_caption=True, caption_tag_dropout_rate=0.5)
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
    only = EncodedImage(
        replace(picture(0), caption="a Sword, swordfish"), LatentMoments(torch.zeros(4, 2, 2), torch.zeros(4, 2, 2))
    )
    spec = replace(SPEC, batch_size=1, template=("[filewords]",), caption_tag_dropout_rate=0.99)
    data = dataset(spec, 2, [only])
    for step in range(1, 20):
        assert int((data.batch(step).prompts.slots >= 0).sum()) == 2  # neither dropped nor put in front once more


SIZES = ((16, 16), (16, 16), (16, 16), (24, 16), (16, 24), (16, 24))


def mixed(spec: TrainingSpec = SPEC, **values: Any) -> LatentDataset:
    return dataset(spec, pictures=[encoded(index, size, **values) for index, size in enumerate(SIZES)])


def test_a_batch_has_one_size() -> None:
    data = mixed(replace(SPEC, batch_size=3))
    shown: Counter[int] = Counter()
    for step in range(1, 61):
        batch = data.batch(step)
        sizes = {SIZES[picture] for picture in chosen(batch)}
        assert len(sizes) == 1
        width, height = sizes.pop()
        assert batch.latents.shape == (3, 4, height // 8, width // 8)
        shown.update(chosen(batch))
    assert set(shown.values()) == {30}


def test_a_repeated_picture_comes_more_often() -> None:
    data = dataset(pictures=[encoded(0), encoded(1, repeats=3)])
    shown = Counter(picture for step in range(1, 21) for picture in chosen(data.batch(step)))
    assert shown == {0: 10, 1: 30}


@pytest.mark.parametrize("sampling", ["deterministic", "once", "random"])
def test_twins(sampling: str) -> None:
    data = dataset(replace(SPEC, random_flip=True, latent_sampling=sampling))
    twins = Counter(
        (picture, bool(round(float(latent.mean()) * 4) % 4))
        for step in range(1, 201)
        for picture, latent in zip(chosen(data.batch(step)), data.batch(step).latents, strict=True)
    )
    assert sorted({picture for picture, _ in twins}) == list(range(PICTURES))
    assert all(20 < count < 60 for count in twins.values())  # of 80 of each picture about half
    assert len(twins) == 2 * PICTURES
    assert same(data.batch(7), dataset(replace(SPEC, random_flip=True, latent_sampling=sampling)).batch(7))
    shown = [float(latent.mean()) % 1 for step in range(1, 20) for latent in dataset().batch(step).latents]
    assert set(shown) == {0.0}  # none where none are asked for


def test_masks_become_weights() -> None:
    mask = torch.tensor([[1.0, 0.0], [0.5, 0.0]])
    pictures = [encoded(0), replace(encoded(1), mask=mask), replace(encoded(2), mask=torch.zeros(2, 2))]
    data = dataset(replace(SPEC, batch_size=3, unmasked_weight=0.2), pictures=pictures)
    batch = data.batch(1)
    assert batch.weights is not None
    weights = dict(zip(chosen(batch), batch.weights, strict=True))
    assert torch.allclose(weights[1], torch.tensor([[1.0, 0.2], [0.6, 0.2]]))
    assert torch.equal(weights[0], torch.ones(2, 2))
    assert torch.equal(weights[2], torch.ones(2, 2))
    assert dataset(pictures=pictures[::2]).batch(1).weights is None


def test_a_twins_weights_are_mirrored() -> None:
    mask = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    data = dataset(replace(SPEC, random_flip=True, unmasked_weight=0.0), pictures=[replace(encoded(1), mask=mask)])
    for step in range(1, 10):
        batch = data.batch(step)
        for latent, weights in zip(batch.latents, batch.weights, strict=True):
            mirrored = float(latent.mean()) > 1.1
            assert torch.equal(weights, mask.flip(-1) if mirrored else mask)


def test_evaluation_batches() -> None:
    spec = replace(
        SPEC, batch_size=4, random_flip=True, latent_sampling="random", shuffle_caption=True, caption_tag_dropout_rate=0.5
    )
    data = mixed(replace(spec, template=("a [name], [filewords]", "never [name]")))
    batches = data.evaluation_batches(16, 3)
    counts = Counter(picture for batch in batches for picture in chosen(batch))
    assert sum(counts.values()) == 16
    assert max(counts.values()) - min(counts.values()) <= 1
    for batch in batches:
        assert len(batch.latents) <= 4
        assert len({SIZES[picture] for picture in chosen(batch)}) == 1
        assert torch.equal(batch.latents, batch.latents.round())  # means of what is not mirrored
        for index, ids in zip(chosen(batch), batch.prompts.ids[:, 0], strict=True):
            words = token_ids(f", tag{index}")
            assert ids[3 : 3 + len(words)].tolist() == words
    data.batch(5)
    again = data.evaluation_batches(16, 3)
    assert all(same(*pair) for pair in zip(data.evaluation_batches(16, 3), again, strict=True))
    other = data.evaluation_batches(16, 4)
    assert torch.randn(3, generator=other[0].generator).tolist() != torch.randn(3, generator=batches[0].generator).tolist()
    generators = [torch.randn(3, generator=batch.generator).tolist() for batch in data.evaluation_batches(16, 3)]
    assert len({tuple(numbers) for numbers in generators}) == len(batches)


def test_fewer_evaluation_items_than_pictures() -> None:
    data = mixed()
    (batch,) = data.evaluation_batches(1, 0)
    assert len(batch.latents) == 1
    seen = {chosen(data.evaluation_batches(1, seed)[0])[0] for seed in range(40)}
    assert seen == set(range(6))


def test_what_does_not_fit_on_the_device_gives_the_same_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = replace(SPEC, random_flip=True, latent_sampling="random")
    whole = mixed(spec).batch(3)
    monkeypatch.setattr(latents_module, "ON_DEVICE_BYTES", 0)
    assert same(mixed(spec).batch(3), whole)


def files(folder: Path, count: int = 3, size: tuple[int, int] = (64, 64)) -> list[TrainingImage]:
    """Pictures of noise, whose left half is half transparent."""
    generator = torch.Generator().manual_seed(3)
    for index in range(count):
        noise = torch.randint(256, (size[1], size[0], 4), generator=generator, dtype=torch.uint8).numpy().copy()
        noise[:, :, 3] = 255
        noise[:, : size[0] // 2, 3] = 51
        Image.fromarray(noise).save(folder / f"{index}.png")
    return scan_folder(folder, ImageOptions((size,), masks="alpha"))[0]


def test_moments_of_every_picture(tiny_model: DiffusionModel, tmp_path: Path) -> None:
    three = files(tmp_path, size=(64, 48))
    done, skipped = encode_dataset(tiny_model, three, random_flip=True)
    assert ([one.image for one in done], skipped) == (three, [])
    pixels = torch.stack([picture.read().colour for picture in three])
    for shown, moments in ((pixels, "moments"), (pixels.flip(-1), "mirrored")):
        posterior = tiny_model.vae.encode(shown).latent_dist
        mean, std = (torch.stack([getattr(getattr(one, moments), name) for one in done]) for name in ("mean", "std"))
        assert mean.shape == (3, 4, 6, 8)
        assert torch.allclose(mean, posterior.mean * tiny_model.latent_scale, atol=1e-5)
        assert torch.allclose(std, posterior.std * tiny_model.latent_scale, atol=1e-5)
        assert not mean.requires_grad
    assert not torch.allclose(done[0].mirrored.mean, done[0].moments.mean.flip(-1), atol=1e-3)
    for one in done:
        assert torch.allclose(one.mask, torch.tensor([0.2] * 4 + [1.0] * 4).expand(6, 8), atol=0.02)


def test_no_twin_and_no_mask_unless_asked_for(tiny_model: DiffusionModel, tmp_path: Path) -> None:
    files(tmp_path, 1)
    pictures, _ = scan_folder(tmp_path, ImageOptions(((64, 64),)))
    ((one,), _) = encode_dataset(tiny_model, pictures)
    assert (one.mirrored, one.mask) == (None, None)


def test_encoding_stops_when_asked(tiny_model: DiffusionModel, tmp_path: Path) -> None:
    pictures = files(tmp_path)
    answers = iter([False, False, True])
    assert len(encode_dataset(tiny_model, pictures, stopped=lambda: next(answers))[0]) == 2
    assert encode_dataset(tiny_model, pictures, stopped=lambda: True) == ([], [])


def with_encoder(model: DiffusionModel, encode: Callable[[torch.Tensor], LatentMoments]) -> Any:
    """A model that only encodes."""
    return SimpleNamespace(encode_images=encode, vae=model.vae, latent_scale=model.latent_scale)


def test_a_vae_that_answers_nan(tiny_model: DiffusionModel, tmp_path: Path) -> None:
    moments = LatentMoments(torch.full((1, 4, 8, 8), torch.nan), torch.ones(1, 4, 8, 8))
    with pytest.raises(TrainingFailed, match=r'^The VAE returned NaN for "0\.png"\.'):
        encode_dataset(with_encoder(tiny_model, lambda _images: moments), files(tmp_path))


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] . DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 99 bytes."),
    ],
)
def test_a_vae_without_memory(tiny_model: DiffusionModel, tmp_path: Path, error: RuntimeError) -> None:
    def encode(_images: torch.Tensor) -> LatentMoments:
        raise error

    with pytest.raises(TrainingFailed) as caught:
        encode_dataset(with_encoder(tiny_model, encode), files(tmp_path, 1, (96, 64)))
    assert caught.value.message == 'There was not enough memory to encode "0.png" at 96 × 64 pixels.'
    assert "smaller width and height" in caught.value.hint


def test_other_errors_of_the_vae_are_not_hidden(tiny_model: DiffusionModel, tmp_path: Path) -> None:
    def encode(_images: torch.Tensor) -> LatentMoments:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        encode_dataset(with_encoder(tiny_model, encode), files(tmp_path, 1))


def test_pictures_that_go_or_change_are_left_out(tiny_model: DiffusionModel, tmp_path: Path) -> None:
    pictures = files(tmp_path, 4)
    (tmp_path / "1.png").unlink()
    (tmp_path / "2.png").write_bytes((tmp_path / "0.png").read_bytes())
    (tmp_path / "3.png").write_text("x")
    done, skipped = encode_dataset(tiny_model, pictures)
    assert [one.image.name for one in done] == ["0.png"]
    assert skipped == [
        ("1.png", "It is no longer there."),
        ("2.png", "It changed while the images were being read."),
        ("3.png", "It is not an image."),
    ]


def test_a_folder_that_goes(tiny_model: DiffusionModel, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    pictures = files(folder)
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    with pytest.raises(NotFound) as caught:
        encode_dataset(tiny_model, pictures)
    assert caught.value.message == f'The folder "{folder}" no longer exists.'


class Counting:
    """Encodes as the model does and counts the pictures."""

    def __init__(self, model: DiffusionModel) -> None:
        self.model = model
        self.count = 0
        self.counted = with_encoder(model, self.encode)

    def encode(self, images: torch.Tensor) -> LatentMoments:
        self.count += 1
        return self.model.encode_images(images)


def equal(one: EncodedImage, other: EncodedImage) -> bool:
    def tensors(encoded: EncodedImage) -> list[torch.Tensor]:
        assert encoded.mask is not None
        pairs = [encoded.moments, encoded.mirrored] if encoded.mirrored else [encoded.moments]
        return [*(tensor for pair in pairs for tensor in (pair.mean, pair.std)), encoded.mask]

    return all(torch.equal(*pair) for pair in zip(tensors(one), tensors(other), strict=True))


def test_the_cache_gives_the_same_bits_without_the_vae(tiny_model: DiffusionModel, tmp_path: Path) -> None:
    pictures, model = files(tmp_path), Counting(tiny_model)
    cache = LatentCache(tmp_path / "latents", tiny_model)
    first, _ = encode_dataset(model.counted, pictures, cache=cache)
    again, _ = encode_dataset(model.counted, pictures, cache=cache)
    without, _ = encode_dataset(tiny_model, pictures)
    assert model.count == 3
    for one, other, fresh in zip(first, again, without, strict=True):
        assert equal(one, other)
        assert equal(one, fresh)


def test_the_cache_learns_the_twins_when_they_are_wanted(tiny_model: DiffusionModel, tmp_path: Path) -> None:
    pictures, model = files(tmp_path, 1), Counting(tiny_model)
    cache = LatentCache(tmp_path / "latents", tiny_model)
    encode_dataset(model.counted, pictures, cache=cache)
    ((one,), _) = encode_dataset(model.counted, pictures, random_flip=True, cache=cache)
    assert model.count == 3
    ((other,), _) = encode_dataset(model.counted, pictures, random_flip=True, cache=cache)
    ((plain,), _) = encode_dataset(model.counted, pictures, cache=cache)
    assert model.count == 3
    assert equal(one, other)
    assert plain.mirrored is None


def test_a_changed_or_damaged_entry_is_encoded_again(tiny_model: DiffusionModel, tmp_path: Path) -> None:
    pictures, model = files(tmp_path, 2), Counting(tiny_model)
    cache = LatentCache(tmp_path / "latents", tiny_model)
    (one, other), _ = encode_dataset(model.counted, pictures, cache=cache)
    for file in (tmp_path / "latents").rglob("*.safetensors"):
        file.write_bytes(file.read_bytes()[:-1])
    Image.open(tmp_path / "1.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "1.png")
    again, _ = encode_dataset(model.counted, scan_folder(tmp_path, ImageOptions(((64, 64),), masks="alpha"))[0], cache=cache)
    assert model.count == 4
    assert equal(one, again[0])
    assert not equal(other, again[1])


def test_a_picture_that_changed_is_not_cached(tiny_model: DiffusionModel, tmp_path: Path) -> None:
    pictures = files(tmp_path, 1)
    os.utime(tmp_path / "0.png", ns=(0, 0))
    assert encode_dataset(tiny_model, pictures, cache=LatentCache(tmp_path / "latents", tiny_model))[0] == []
    assert not (tmp_path / "latents").exists()
