"""Evaluation of an embedding on the held-out images of a sample set: loss, and generated images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from PIL import Image

from train_embedding.demo.sets import SampleSet
from train_embedding.embeddings.embedding import Embedding
from train_embedding.engine.data.image_folder import ImageOptions, scan_folder
from train_embedding.engine.data.latents import encode_dataset
from train_embedding.engine.model.diffusion_model import DiffusionModel
from train_embedding.engine.sampling import decode_to_images, draw_latents
from train_embedding.engine.training.evaluation import evaluation_losses, evaluation_set

REPEATS = 24
"Evaluations of each held-out image, each at its own timestep."
SEEDS_PER_PROMPT = 8
STEPS, GUIDANCE = 20, 5.0


class HeldOut:
    """The held-out images of a sample set. The evaluated items and the seeds of generated images are always the same."""

    def __init__(self, model: DiffusionModel, sample_set: SampleSet, name: str, vectors: int) -> None:
        """Encode the images.

        Args:
            model: Encodes and generates images.
            sample_set: The set.
            name: Name of the embedding, as it is in the captions.
            vectors: Its number of vectors.
        """
        self._model = model
        self._set = sample_set
        images, _skipped = scan_folder(sample_set.heldout_folder, ImageOptions(((model.resolution, model.resolution),)))
        encoded, _unread = encode_dataset(model, images)
        latents = torch.stack([item.moments.mean for item in encoded]).to(model.device)
        captions = [item.image.caption for item in encoded]
        self._items = evaluation_set(model, latents, captions, name, vectors, repeats=REPEATS, seed=1)

    def losses(self, vectors: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the denoising loss of each item, [K], for vectors [n, d] per text encoder."""
        return evaluation_losses(
            self._model, {key: tensor.to(self._model.device) for key, tensor in vectors.items()}, self._items
        )

    def draw(self, embedding: Embedding) -> list[Image.Image]:
        """Generate images with the prompts of the set, SEEDS_PER_PROMPT for each in turn, all with different seeds."""
        prompts = [prompt.format(embedding.name) for prompt in self._set.prompts for _ in range(SEEDS_PER_PROMPT)]
        side = self._model.resolution
        latents = draw_latents(
            self._model,
            prompts,
            list(range(len(prompts))),
            steps=STEPS,
            guidance=GUIDANCE,
            width=side,
            height=side,
            embeddings=[embedding],
        )
        return decode_to_images(self._model, latents)

    def distance(self, images: Sequence[Image.Image]) -> float:
        """Return the mean distance of images from the concept, 0…1, as the set measures it."""
        return sum(map(self._set.distance, images)) / len(images)
