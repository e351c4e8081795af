"""Latents of the training images, encoded once, and the training batches made from them."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# torch's annotations are incomplete for some methods of Tensor.

from __future__ import annotations

import copy
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
from train_embedding.messages import msg

ON_DEVICE_BYTES = 2**30
"Latents up to this size are kept on the model's device, larger ones in main memory."


@dataclass(frozen=True)
class EncodedImage:
    """The latents of an image, on the CPU.

    Attributes:
        image: The image.
        moments: Its latent distribution, [4, h, w].
        mirrored: The latent distribution of the flipped image, [4, h, w], which differs from the flipped `moments`; None if the
            run does not flip images.
        mask: From 0 to 1, [h, w]; None without a mask.
    """

    image: TrainingImage
    moments: LatentMoments
    mirrored: LatentMoments | None = None
    mask: torch.Tensor | None = None


def encode_dataset(
    model: DiffusionModel,
    images: Sequence[TrainingImage],
    *,
    random_flip: bool = False,
    cache: LatentCache | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> tuple[list[EncodedImage], list[SkippedFile]]:
    """Encode images to latents, or load them from the cache.

    Args:
        model: The model whose VAE encodes the images.
        images: The images.
        random_flip: Whether to encode the flipped images as well.
        cache: The disk cache; None to encode every image.
        stopped: Returns whether to stop early, with fewer images.

    Returns:
        The encoded images, and the images that could not be read with the reasons.

    Raises:
        TrainingFailed: The VAE returned NaN or ran out of memory.
        NotFound: The folder of the images no longer exists.
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
                    msg('The folder "{folder}" no longer exists.', folder=image.file.parent),
                    msg("Put it back and start again. The embedding is unchanged."),
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
            msg('The VAE returned NaN for "{image}".', image=image.name),
            msg("Use a VAE in full precision (--no-half-vae in the WebUI)."),
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
            msg(
                'There was not enough memory to encode "{image}" at {width} × {height} pixels.',
                image=image.name,
                width=width,
                height=height,
            ),
            msg("Use a smaller width and height, or close other programs that use the GPU."),
        ) from error


def _bytes(images: Sequence[EncodedImage]) -> int:
    """Return the largest size in bytes of a dataset's latents: a mean, and a standard deviation or a sample, for each view."""
    views = [moments for image in images for moments in (image.moments, image.mirrored) if moments is not None]
    return sum(moments.mean.nbytes + moments.std.nbytes for moments in views)


@dataclass(frozen=True)
class Batch:
    """The batch of one training step, with images of one size.

    Attributes:
        latents: [B, 4, h, w].
        prompts: B prompts.
        generator: Source of the other random numbers of the step.
        weights: Loss weight of each position, [B, h, w]; None if all are equal.
        teacher: Conditioning whose predictions are the target of distillation; None for training on images.
        local_rows: Rows that this process computes. Random numbers are drawn for all rows, so that they do not depend on the
            number of processes.
    """

    latents: torch.Tensor
    prompts: PromptBatch
    generator: torch.Generator
    weights: torch.Tensor | None = None
    teacher: Conditioning | None = None
    local_rows: slice = field(default_factory=lambda: slice(None))

    def select(self, rows: slice) -> Batch:
        """Return some rows of the batch, with the same generator."""
        weights = None if self.weights is None else self.weights[rows]
        teacher = None if self.teacher is None else self.teacher.map(lambda tensor: tensor[rows])
        return Batch(self.latents[rows], self.prompts.select(rows), self.generator, weights, teacher)


@dataclass(frozen=True)
class _View:
    """The latents of an image or of its flipped copy.

    Attributes:
        mean: [4, h, w].
        sample: Latents for training unless each step takes a new sample, [4, h, w].
        std: [4, h, w]; None unless each step takes a new sample.
        weights: Loss weight of each position, [h, w]; None if all are equal.
    """

    mean: torch.Tensor
    sample: torch.Tensor
    std: torch.Tensor | None
    weights: torch.Tensor | None


class LatentDataset:
    """Training batches of latents and prompts. A batch depends on the seed and the step only.

    Args:
        images: Encoded by `encode_dataset`.
        resolved: The options of the run.
        vectors: Number of vectors of the embedding.
        device: Device of the batches; None for the CPU.
        teacher: Conditioning of the prompt to pack, a batch of 1 on `device`; None for training on images.
        processes: Processes that share each batch, with `batch_size` images per process.
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
        self._texts = [encoded.image.caption for encoded in images]
        self._captions = Captions(self._spec, self._texts, vectors)
        self._fits = _bytes(images) <= ON_DEVICE_BYTES
        generator = step_generator(self._spec.seed, 0)
        views = [
            self._view(encoded, mirror, generator) for mirror in (False, True)[: 1 + self._spec.random_flip] for encoded in images
        ]
        self._views = [views[index :: len(images)] for index in range(len(images))]
        groups: dict[Size, list[int]] = {}
        for index, encoded in enumerate(images):
            groups.setdefault(encoded.image.target, []).extend([index] * encoded.image.repeats)
        self._batch_size = self._spec.batch_size * processes.count
        self._local_rows = slice(processes.rank * self._spec.batch_size, (processes.rank + 1) * self._spec.batch_size)
        self._order = BatchOrder(list(groups.values()), self._batch_size, self._spec.seed)
        self._groups = [sorted(set(group)) for group in groups.values()]

    def with_vectors(self, count: int) -> LatentDataset:
        """Return the same dataset for an embedding with another number of vectors; the latents are shared."""
        other = copy.copy(self)
        other._captions = Captions(self._spec, self._texts, count)
        return other

    def batch(self, step: int) -> Batch:
        """Make the batch of a step, counted from 1."""
        generator = step_generator(self._spec.seed, step)
        chosen = self._order.at(step)
        flipped: list[bool] = (
            (torch.rand(len(chosen), generator=generator) < 0.5).tolist() if self._spec.random_flip else [False] * len(chosen)
        )
        views = [self._views[image][mirrored] for image, mirrored in zip(chosen, flipped, strict=True)]
        latents = self._stacked([view.sample for view in views])
        if self._spec.latent_sampling == "random":
            noise = to_device(torch.randn(latents.shape, generator=generator), self._device)
            latents = latents + self._stacked([view.std for view in views if view.std is not None]) * noise
        return self._batch(latents, views, chosen, self._captions.draw(chosen, step), generator)

    def evaluation_batches(self, count: int, seed: int) -> list[Batch]:
        """Make batches for the evaluation loss, the same in every call.

        They contain the means of the latent distributions, never flipped, with the prompts of `Captions.for_evaluation`. Each
        batch has its own generator for noise, seeded by `seed`.

        Args:
            count: Number of items in all batches together. The images are used equally often, up to a difference of 1.
            seed: Sets which images are used, and their order.

        Returns:
            Batches of images of one size, at most as large as a training batch.
        """
        order: list[int] = torch.randperm(len(self._views), generator=step_generator(seed, 0)).tolist()
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
            uniform = torch.ones(latents.shape[2:], device=self._device)
            weights = self._stacked([uniform if view.weights is None else view.weights for view in views])
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

    def _view(self, encoded: EncodedImage, mirror: bool, generator: torch.Generator) -> _View:
        moments = encoded.mirrored if mirror else encoded.moments
        assert moments is not None, "the flipped images were not encoded"
        sampling = self._spec.latent_sampling
        mean = sample = self._placed(moments.mean)
        if sampling == "once":
            sample = self._placed(moments.mean + moments.std * torch.randn(moments.mean.shape, generator=generator))
        weights = mask_weights(encoded.mask, self._spec.unmasked_weight)
        return _View(
            mean=mean,
            sample=sample,
            std=self._placed(moments.std) if sampling == "random" else None,
            weights=None if weights is None else self._placed(weights.flip(-1) if mirror else weights),
        )

    def _placed(self, tensor: torch.Tensor) -> torch.Tensor:
        """Move a tensor to the device or, if the dataset is too large, to pinned memory."""
        if self._fits:
            return tensor.to(self._device)
        return tensor.pin_memory() if support_of(self._device).pinned else tensor
