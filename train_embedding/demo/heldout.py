"""How well an embedding serves the held-out pictures of a sample set: their loss, and what is drawn with it."""

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
"Times each held-out picture is evaluated, each at its own noise level."
SEEDS_PER_PROMPT = 8
STEPS, GUIDANCE = 20, 5.0


class HeldOut:
    """name, vectors: of the embedding that stands in the captions. The items and the pictures' seeds are always the same."""

    def __init__(self, model: DiffusionModel, sample_set: SampleSet, name: str, vectors: int) -> None:
        self._model = model
        self._set = sample_set
        pictures, _skipped = scan_folder(sample_set.heldout_folder, ImageOptions(((model.resolution, model.resolution),)))
        encoded, _unread = encode_dataset(model, pictures)
        latents = torch.stack([one.moments.mean for one in encoded]).to(model.device)
        captions = [one.image.caption for one in encoded]
        self._items = evaluation_set(model, latents, captions, name, vectors, repeats=REPEATS, seed=1)

    def losses(self, vectors: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The denoising loss of each item, [K], for vectors [n, d] per text encoder."""
        return evaluation_losses(
            self._model, {key: tensor.to(self._model.device) for key, tensor in vectors.items()}, self._items
        )

    def draw(self, embedding: Embedding) -> list[Image.Image]:
        """Pictures from the set's prompts, SEEDS_PER_PROMPT of each one after the other, each with a seed of its own."""
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

    def distance(self, pictures: Sequence[Image.Image]) -> float:
        """The mean distance of pictures from the concept, 0…1, as the set measures it."""
        return sum(map(self._set.distance, pictures)) / len(pictures)
