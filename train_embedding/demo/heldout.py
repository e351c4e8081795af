"""Evaluation of an embedding on held-out images of a concept: loss, and generated images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image

from train_embedding.embeddings.embedding import Embedding
from train_embedding.engine.data.image_folder import ImageOptions, scan_folder
from train_embedding.engine.data.latents import encode_dataset
from train_embedding.engine.model.diffusion_model import DiffusionModel
from train_embedding.engine.sampling import decode_to_images, draw_latents
from train_embedding.engine.training.evaluation import EvaluationSet, evaluation_losses, evaluation_set

STEPS, GUIDANCE = 20, 5.0
_SEED = 1


class HeldOut:
    """Held-out images with captions. The evaluated items and the seeds of generated images are always the same."""

    def __init__(self, model: DiffusionModel, folder: Path, name: str, *, repeats: int) -> None:
        """Encode the images.

        Args:
            model: Encodes and generates images.
            folder: Folder of the held-out images and their captions.
            name: Name of the embedding, as it is in the captions.
            repeats: Evaluations of each image, each at its own timestep.
        """
        self._model = model
        images, _skipped = scan_folder(folder, ImageOptions(((model.resolution, model.resolution),)))
        encoded, _unread = encode_dataset(model, images)
        self._latents = torch.stack([item.moments.mean for item in encoded]).to(model.device)
        self._captions = [item.image.caption for item in encoded]
        self._name, self._repeats = name, repeats
        self._items: dict[int, EvaluationSet] = {}

    def losses(self, vectors: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the denoising loss of each item, [K], for vectors [n, d] per text encoder."""
        placed = {key: tensor.to(self._model.device) for key, tensor in vectors.items()}
        return evaluation_losses(self._model, placed, self._items_for(len(next(iter(placed.values())))))

    def _items_for(self, count: int) -> EvaluationSet:
        """Return the items for an embedding with a number of vectors; only the prompts depend on it."""
        if count not in self._items:
            self._items[count] = evaluation_set(
                self._model, self._latents, self._captions, self._name, count, repeats=self._repeats, seed=_SEED
            )
        return self._items[count]

    def draw(self, embedding: Embedding, prompts: Sequence[str]) -> list[Image.Image]:
        """Generate an image for each prompt, all with different seeds. `{}` stands for the name of the embedding."""
        side = self._model.resolution
        latents = draw_latents(
            self._model,
            [prompt.format(embedding.name) for prompt in prompts],
            list(range(len(prompts))),
            steps=STEPS,
            guidance=GUIDANCE,
            width=side,
            height=side,
            embeddings=[embedding],
        )
        return decode_to_images(self._model, latents)
