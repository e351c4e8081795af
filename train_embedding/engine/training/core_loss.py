"""Context regularization (CoRe, Wu et al. 2025, arXiv 2408.15914), which preserves the influence of the other words of a prompt.

After long training, vectors can change the output of the text encoder for all other words of a prompt, which then lose their
influence. This loss compares the encodings of those words with their encodings at the start of the run. It needs neither images
nor the UNet. The paper's second term, on attention maps, would need another UNet forward pass and is not implemented.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.nn import functional as F

from train_embedding.engine.model.diffusion_model import DiffusionModel
from train_embedding.engine.prompts.embedding_names import NAME
from train_embedding.engine.prompts.splicing import PromptBatch, VectorRows, batch_prompts, tokenize_pieces
from train_embedding.engine.runtime.precision import autocast
from train_embedding.engine.seeds import CONTEXT_PROMPTS, step_generator

PROMPTS = (
    "[name] on a beach", "[name] in the snow", "[name] in a city at night", "[name] in front of a mountain",
    "[name] in a forest of tall trees", "[name] under water", "[name] on a wooden table", "[name] in the desert at sunset",
    "[name] in the rain", "[name] beside a river", "[name] in a red room", "[name] on green grass", "[name] on white paper",
    "a painting of [name] in the style of van gogh", "a pencil drawing of [name]", "a black and white photo of [name]",
    "a marble statue of [name]", "a small [name] in a big hall", "two people looking at [name]", "a poster with [name] and a sun",
)  # fmt: skip
"Common scenes; each step uses one of them."


class CoreLoss:
    """Computes the loss against the encodings at the start of a run.

    Args:
        model: The model, of which the text encoders are used.
        start: Vectors [n, d] per text encoder at the start of the run, on the device of the model.
        seed: Seed of the run, which sets the prompt of each step.
    """

    def __init__(self, model: DiffusionModel, start: Mapping[str, torch.Tensor], seed: int) -> None:
        count = len(next(iter(start.values())))
        self._model = model
        self._seed = seed
        self._prompts = [batch_prompts([tokenize_pieces(_pieces(prompt, count))]).to(model.device) for prompt in PROMPTS]
        with torch.no_grad():
            self._references = [self._encode(prompts, start) for prompts in self._prompts]

    def loss(self, vectors: Mapping[str, torch.Tensor], step: int) -> torch.Tensor:
        """Compute 1 − cos(encoding, reference), averaged over the tokens of other words: a scalar from 0 to 2."""
        chosen = int(torch.randint(len(PROMPTS), (), generator=step_generator(self._seed, CONTEXT_PROMPTS + step)))
        prompts, reference = self._prompts[chosen], self._references[chosen]
        similarity = F.cosine_similarity(self._encode(prompts, vectors), reference, dim=-1)  # [1, k * 77]
        others = (prompts.slots < 0).flatten(1)
        return ((1 - similarity) * others).sum() / others.sum()

    def _encode(self, prompts: PromptBatch, vectors: Mapping[str, torch.Tensor]) -> torch.Tensor:
        with autocast(self._model):
            return self._model.encode_prompts(prompts, vectors).context.float()


def _pieces(prompt: str, count: int) -> list[str | VectorRows]:
    before, after = prompt.split(NAME)
    return [piece for piece in (before, VectorRows(0, count), after) if piece != ""]
