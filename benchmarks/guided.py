"""Training of vectors in the negative prompt, so that the guided prediction meets the noise, for `benchmarks.negative`.

The guided prediction is ε(negative) + s · (ε(prompt) − ε(negative)) (Ho & Salimans 2022, arXiv 2207.12598). With vectors in the
prompt too, both are trained together, as in DreamArtist (Dong et al. 2022, arXiv 2211.11337), without its loss on pixels.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch's annotations are incomplete for some methods of Tensor.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from train_embedding.embeddings.create import fill
from train_embedding.embeddings.embedding import Embedding
from train_embedding.engine.model.diffusion_model import DiffusionModel, empty_vector_tables
from train_embedding.engine.model.noise_schedule import add_noise, draw_timesteps
from train_embedding.engine.prompts.encoding import PromptTokenizer, batch_tokenized
from train_embedding.engine.prompts.splicing import PromptBatch, VectorRows
from train_embedding.engine.seeds import step_generator
from train_embedding.engine.training.losses import prediction_target
from train_embedding.engine.training.optimizers import make_optimizer, set_learning_rate

CONCEPT, AVOIDED = "concept", "avoided"
"Names of the embeddings in the prompt and in the negative prompt."
_RATE = 0.12
"Learning rate of the preset Fast, which falls to 0."


@dataclass(frozen=True)
class Guided:
    """Options of a training.

    Attributes:
        guidance: Guidance scale s; 1 for no guidance, the usual training.
        positive: Number of vectors in the prompts.
        negative: Number of vectors in the negative prompt.
        steps: Training steps.
        batch: Batch size.
    """

    guidance: float = 1.0
    positive: int = 0
    negative: int = 0
    steps: int = 248
    batch: int = 2


@dataclass(frozen=True)
class Examples:
    """Latents of the training images, [N, 4, h, w], and their captions, with CONCEPT where the prompts have vectors."""

    latents: torch.Tensor
    captions: Sequence[str]


@torch.no_grad()
def encode_examples(model: DiffusionModel, images: Sequence[Image.Image], captions: Sequence[str]) -> Examples:
    """Encode images of the size of the model."""
    pixels = torch.stack([torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8) for image in images])
    side = images[0].width
    scaled = pixels.reshape(-1, side, side, 3).permute(0, 3, 1, 2).float() / 127.5 - 1
    return Examples(model.encode_images(scaled).mean, captions)


def initial(model: DiffusionModel, name: str, text: str, vectors: int) -> Embedding:
    """Return an untrained embedding."""
    return Embedding(name, {key: fill(table, vectors) for key, table in model.token_embeddings(text, None).items()})


def train_guided(
    model: DiffusionModel, examples: Examples, start: Sequence[Embedding], options: Guided, seed: int
) -> list[Embedding]:
    """Train embeddings together, and return them in the same order.

    Args:
        model: The frozen model.
        examples: The training images.
        start: CONCEPT, AVOIDED, or both.
        options: Options of the training.
        seed: Sets images, noise and timesteps.
    """
    tables = [{key: table.clone().requires_grad_() for key, table in one.vectors.items()} for one in start]
    optimizer = make_optimizer("direction", [table for each in tables for table in each.values()], _RATE)
    names, prompts, negative = _prompts(examples, start)
    for step in range(1, options.steps + 1):
        set_learning_rate(optimizer, _RATE * (1 - (step - 1) / options.steps))
        optimizer.zero_grad()
        generator = step_generator(seed, step)
        rows = torch.randperm(len(examples.latents), generator=generator)[: options.batch]
        joined = {key: torch.cat([each[key] for each in tables]) for key in tables[0]}
        chosen = PromptBatch(prompts.ids[rows], prompts.slots[rows])
        loss = guided_loss(model, examples.latents[rows], (chosen, negative), joined, options.guidance, generator)
        loss.backward()
        optimizer.step()
    return [
        Embedding(name, {key: table.detach() for key, table in each.items()}) for name, each in zip(names, tables, strict=True)
    ]


def guided_loss(
    model: DiffusionModel,
    latents: torch.Tensor,
    prompts: tuple[PromptBatch, PromptBatch],
    tables: dict[str, torch.Tensor],
    guidance: float,
    generator: torch.Generator,
) -> torch.Tensor:
    """Compute the mean squared error of the guided prediction, a scalar.

    What has no trained vectors is predicted without gradients: two forward passes and one backward pass.

    Args:
        model: The frozen model.
        latents: [B, 4, h, w].
        prompts: B prompts, and one negative prompt, which is not used without guidance.
        tables: Vectors [n, d] per text encoder.
        guidance: Guidance scale s.
        generator: Draws noise and timesteps.
    """
    timesteps = draw_timesteps("stratified", len(latents), len(model.alphas_cumprod), generator)
    noise = torch.randn(latents.shape, generator=generator)
    noisy = add_noise(latents, noise, model.alphas_cumprod, timesteps)
    target = prediction_target(model.prediction_type, latents, noise, model.alphas_cumprod, timesteps)

    def predict(batch: PromptBatch) -> torch.Tensor:
        with torch.set_grad_enabled(bool((batch.slots >= 0).any())):
            encoded = model.encode_prompts(batch, tables).map(lambda tensor: tensor.expand(len(latents), *tensor.shape[1:]))
            return model.predict(noisy, timesteps, encoded)

    prediction = predict(prompts[0])
    if guidance != 1:
        avoided = predict(prompts[1])
        prediction = avoided + guidance * (prediction - avoided)
    return (prediction - target).square().mean()


@torch.no_grad()
def loss_with(model: DiffusionModel, examples: Examples, embeddings: Sequence[Embedding], guidance: float) -> float:
    """Compute the loss of the guided prediction over all examples, with fixed noise and timesteps.

    Args:
        model: The model.
        examples: Images and prompts.
        embeddings: AVOIDED as the negative prompt, or none for an empty one.
        guidance: Guidance scale s.
    """
    _names, prompts, negative = _prompts(examples, embeddings)
    tables = empty_vector_tables(model)
    if embeddings:
        tables = {key: torch.cat([one.vectors[key] for one in embeddings]) for key in model.widths}
    generators = [torch.Generator().manual_seed(seed) for seed in range(4)]
    losses = [guided_loss(model, examples.latents, (prompts, negative), tables, guidance, each) for each in generators]
    return float(torch.stack(losses).mean())


def operations(model: DiffusionModel, options: Guided) -> float:
    """Count the operations of a step with batch size 1, relative to a forward pass of the UNet with its text encoder."""
    latents = torch.zeros(1, 4, model.resolution // 8, model.resolution // 8)
    names = [name for name, count in ((CONCEPT, options.positive), (AVOIDED, options.negative)) if count]
    start = [initial(model, name, "a", options.positive if name == CONCEPT else options.negative) for name in names]
    _names, prompts, negative = _prompts(Examples(latents, [CONCEPT if options.positive else "a"]), start)
    tables = {key: torch.cat([one.vectors[key] for one in start]).requires_grad_() for key in model.widths}
    generator = torch.Generator().manual_seed(0)
    with FlopCounterMode(display=False) as step:
        guided_loss(model, latents, (prompts, negative), tables, options.guidance, generator).backward()
    with FlopCounterMode(display=False) as forward, torch.no_grad():
        guided_loss(model, latents, (prompts, negative), tables, 1.0, generator)
    return step.get_total_flops() / forward.get_total_flops()


def _prompts(examples: Examples, start: Sequence[Embedding]) -> tuple[list[str], PromptBatch, PromptBatch]:
    """Return the names of the embeddings, the prompts of the examples, and the negative prompt."""
    rows: list[tuple[str, VectorRows]] = []
    for one in start:
        rows.append((one.name, VectorRows(sum(each.count for _, each in rows), one.count)))
    tokenizer = PromptTokenizer(rows)
    names = [name for name, _ in rows]
    prompts = batch_tokenized([tokenizer.tokenize(caption) for caption in examples.captions])
    negative = batch_tokenized([tokenizer.tokenize(AVOIDED if AVOIDED in names else "")])
    return names, prompts, negative
