"""Latents of the training images, encoded once, and the batches made of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from train_embedding.engine.config.spec import ResolvedSpec
from train_embedding.engine.data.buckets import BatchOrder, Size
from train_embedding.engine.data.captions import Captions
from train_embedding.engine.data.image_folder import SkippedFile, TrainingImage, skipped_file
from train_embedding.engine.data.latent_cache import LatentCache
from train_embedding.engine.data.masks import mask_weights, pool_mask
from train_embedding.engine.devices import is_out_of_memory, support_of, to_device
from train_embedding.engine.model.conditioning import Conditioning
from train_embedding.engine.model.diffusion_model import DiffusionModel, LatentMoments
from train_embedding.engine.process_group import SINGLE_PROCESS, Processes
from train_embedding.engine.prompts.splicing import PromptBatch
from train_embedding.engine.seeds import EVALUATION, step_generator
from train_embedding.errors import NotFound, TrainingFailed, UnreadableFile

ON_DEVICE_BYTES = 2**30
"Latents up to this size lie on the model's device; more stay in the main memory."


@dataclass(frozen=True)
class EncodedImage:
    """An image's latents, on the CPU. moments, mirrored: [4, h, w]; mask: [h, w] in 0…1, or None where it has none."""

    image: TrainingImage
    moments: LatentMoments
    mirrored: LatentMoments | None = None
    "Of the image mirrored, which is not the same as the moments mirrored."
    mask: torch.Tensor | None = None


def encode_dataset(
    model: DiffusionModel,
    images: Sequence[TrainingImage],
    *,
    random_flip: bool = False,
    cache: LatentCache | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> tuple[list[EncodedImage], list[SkippedFile]]:
    """The latents of every image, and the images that could not be read after all; fewer when `stopped` says so.

    random_flip: whether those of the mirrored images are wanted too. Raises TrainingFailed when the VAE answers with NaN or
    runs out of memory, and NotFound when the folder is gone.
    """
    encoded: list[EncodedImage] = []
    skipped: list[SkippedFile] = []
    for image in images:
        if stopped():
            break
        try:
            encoded.append(_encode_image(model, image, random_flip, cache))
        except UnreadableFile as error:
            if not image.file.parent.is_dir():
                raise NotFound(
                    f'The folder "{image.file.parent}" is gone; it was there when the run began.',
                    "Put it back and start again; nothing of the embedding is lost.",
                ) from error
            skipped.append(skipped_file(image.name, error))
    if cache is not None:
        cache.trim()
    return encoded, skipped


def _encode_image(model: DiffusionModel, image: TrainingImage, random_flip: bool, cache: LatentCache | None) -> EncodedImage:
    key = cache.key(image) if cache is not None else ""
    found = cache.load(key) if cache is not None else {}
    wanted = {"mean", "std", *(("mirrored_mean", "mirrored_std") if random_flip else ())}
    missing = not wanted <= set(found)
    if missing:
        found = _compute(model, image, random_flip)
    image.check_unchanged()
    if missing and cache is not None:
        cache.save(key, found)
    mirrored = LatentMoments(found["mirrored_mean"], found["mirrored_std"]) if random_flip else None
    return EncodedImage(image, LatentMoments(found["mean"], found["std"]), mirrored, found.get("mask"))


def _compute(model: DiffusionModel, image: TrainingImage, random_flip: bool) -> dict[str, torch.Tensor]:
    pixels = image.read()
    computed: dict[str, torch.Tensor] = {}
    for prefix, colour in (("", pixels.colour), ("mirrored_", pixels.colour.flip(-1)))[: 1 + random_flip]:
        moments = _moments(model, colour, image)
        computed[f"{prefix}mean"], computed[f"{prefix}std"] = moments.mean[0].cpu(), moments.std[0].cpu()
    if not all(bool(torch.isfinite(tensor).all()) for tensor in computed.values()):
        raise TrainingFailed(
            f'The VAE turned "{image.name}" into NaN.', "Use a VAE in full precision (--no-half-vae in the WebUI)."
        )
    if pixels.mask is not None:
        computed["mask"] = pool_mask(pixels.mask, *computed["mean"].shape[1:])
    return computed


def _moments(model: DiffusionModel, colour: torch.Tensor, image: TrainingImage) -> LatentMoments:
    try:
        return model.encode_images(colour.unsqueeze(0))
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        width, height = image.target
        raise TrainingFailed(
            f'The memory was not enough to encode "{image.name}" at {width} × {height} pixels.',
            "Give a smaller width and height, or close what else uses the memory.",
        ) from error


def _bytes(images: Sequence[EncodedImage]) -> int:
    """What the latents of a dataset take at most: a mean, and a deviation or a sample, of each view."""
    moments = [one for image in images for one in (image.moments, image.mirrored) if one is not None]
    return sum(one.mean.nbytes + one.std.nbytes for one in moments)


@dataclass(frozen=True)
class Batch:
    """What one step learns from; all of one size.

    latents: [B, 4, h, w]. generator: the source of the step's further random numbers. weights: [B, h, w], how much each place
    counts, or None where all count alike.
    """

    latents: torch.Tensor
    prompts: PromptBatch
    generator: torch.Generator
    weights: torch.Tensor | None = None
    teacher: Conditioning | None = None
    "Prompts whose predictions are the target, where a prompt is distilled."
    local_rows: slice = field(default_factory=lambda: slice(None))
    "The rows that this process computes. Random numbers are drawn for all, so that a row's do not depend on who computes it."

    def select(self, rows: slice) -> Batch:
        """Some of its items, with the same generator."""
        weights = None if self.weights is None else self.weights[rows]
        teacher = None if self.teacher is None else self.teacher.map(lambda tensor: tensor[rows])
        return Batch(self.latents[rows], self.prompts.select(rows), self.generator, weights, teacher)


@dataclass(frozen=True)
class _View:
    """An image as it is or mirrored. mean, start: [4, h, w], where start is what training takes unless it samples anew."""

    mean: torch.Tensor
    start: torch.Tensor
    std: torch.Tensor | None
    weights: torch.Tensor | None


class LatentDataset:
    """Batches of cached latents with their prompts; a batch depends on the seed and the step alone.

    vectors: how many the embedding has. device: where batches are wanted; None for the CPU. teacher: one prompt, encoded there.
    processes: those that share each batch, of `batch_size` images for each of them.
    """

    def __init__(
        self,
        images: Sequence[EncodedImage],
        resolved: ResolvedSpec,
        vectors: int,
        device: torch.device | None = None,
        teacher: Conditioning | None = None,
        processes: Processes = SINGLE_PROCESS,
    ) -> None:
        self._teacher = teacher
        self._spec = resolved.spec
        self._device = device or torch.device("cpu")
        self._captions = Captions(self._spec, [one.image.caption for one in images], vectors)
        self._fits = _bytes(images) <= ON_DEVICE_BYTES
        generator = step_generator(self._spec.seed, 0)
        views = [self._view(one, mirror, generator) for mirror in (False, True)[: 1 + self._spec.random_flip] for one in images]
        self._views = [views[index :: len(images)] for index in range(len(images))]
        groups: dict[Size, list[int]] = {}
        for index, one in enumerate(images):
            groups.setdefault(one.image.target, []).extend([index] * one.image.repeats)
        self._batch_size = self._spec.batch_size * processes.count
        self._local_rows = slice(processes.rank * self._spec.batch_size, (processes.rank + 1) * self._spec.batch_size)
        self._order = BatchOrder(list(groups.values()), self._batch_size, self._spec.seed)
        self._groups = [sorted(set(group)) for group in groups.values()]

    def batch(self, step: int) -> Batch:
        """The batch of a step, counted from 1, in the order of `BatchOrder`."""
        generator = step_generator(self._spec.seed, step)
        chosen = self._order.at(step)
        turned = (
            (torch.rand(len(chosen), generator=generator) < 0.5).tolist() if self._spec.random_flip else [False] * len(chosen)
        )
        views = [self._views[image][mirrored] for image, mirrored in zip(chosen, turned, strict=True)]
        latents = self._stacked([view.start for view in views])
        if self._spec.latent_sampling == "random":
            noise = to_device(torch.randn(latents.shape, generator=generator), self._device)
            latents = latents + self._stacked([view.std for view in views if view.std is not None]) * noise
        return self._batch(latents, views, chosen, self._captions.draw(chosen, step), generator)

    def evaluation_batches(self, count: int, seed: int) -> list[Batch]:
        """Return the same batches at every call, to compare losses on.

        They hold the means of the posteriors, never mirrored, with the prompts of `Captions.for_evaluation`. Each batch has a
        generator of its own for its noise, which follows from `seed`.

        Args:
            count: Items in all batches together. Each image occurs equally often, to within one.
            seed: Decides which images are used and in which order.

        Returns:
            Batches of images of one size, none larger than a training batch.
        """
        order = torch.randperm(len(self._views), generator=step_generator(seed, 0)).tolist()
        items = [order[index % len(order)] for index in range(count)]
        batches: list[Batch] = []
        for group in self._groups:
            chosen = [item for item in items if item in group]
            for start in range(0, len(chosen), self._batch_size):
                part = chosen[start : start + self._batch_size]
                number = len(batches) + 1
                views = [self._views[image][0] for image in part]
                latents = self._stacked([view.mean for view in views])
                prompts = self._captions.for_evaluation(part, seed * 1_000_003 + number)
                batches.append(self._batch(latents, views, part, prompts, step_generator(seed, EVALUATION + number)))
        return batches

    def _batch(
        self,
        latents: torch.Tensor,
        views: Sequence[_View],
        chosen: Sequence[int],
        prompts: PromptBatch,
        generator: torch.Generator,
    ) -> Batch:
        weights = None
        if any(view.weights is not None for view in views):
            alike = torch.ones(latents.shape[2:], device=self._device)
            weights = self._stacked([alike if view.weights is None else view.weights for view in views])
        return Batch(
            latents=latents,
            prompts=prompts.to(self._device),
            generator=generator,
            weights=weights,
            teacher=None if self._teacher is None else self._teacher.map(lambda row: row.expand(len(chosen), *row.shape[1:])),
            local_rows=self._local_rows,
        )

    def _stacked(self, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
        return torch.stack([to_device(tensor, self._device) for tensor in tensors])

    def _view(self, one: EncodedImage, mirror: bool, generator: torch.Generator) -> _View:
        moments = one.mirrored if mirror else one.moments
        assert moments is not None, "the mirrored images were not encoded"
        sampling = self._spec.latent_sampling
        mean = start = self._placed(moments.mean)
        if sampling == "once":
            start = self._placed(moments.mean + moments.std * torch.randn(moments.mean.shape, generator=generator))
        weights = mask_weights(one.mask, self._spec.unmasked_weight)
        return _View(
            mean=mean,
            start=start,
            std=self._placed(moments.std) if sampling == "random" else None,
            weights=None if weights is None else self._placed(weights.flip(-1) if mirror else weights),
        )

    def _placed(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor where batches are wanted or, when all of them are too many, in memory that copies there fast."""
        if self._fits:
            return tensor.to(self._device)
        return tensor.pin_memory() if support_of(self._device).pinned else tensor
