"""Measures how well the demo checkpoint follows prompts: `python -m train_embedding.demo.score [CHECKPOINT]`."""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image

from train_embedding.demo import measure
from train_embedding.demo.vocabulary import DEMO, VOCABULARIES, Vocabulary
from train_embedding.engine.loading.checkpoint import load_checkpoint
from train_embedding.engine.model.diffusion_model import DiffusionModel
from train_embedding.engine.sampling import decode_to_images, draw_latents
from train_embedding.hosts.standalone import DEMO_CHECKPOINT

GUIDANCE = 5.0
STEPS = 20
_AT_ONCE = 25


@dataclass(frozen=True)
class Score:
    """The number of generated images, and of those with the colour, the background and the shape of their prompts."""

    images: int
    colour: int
    background: int
    shape: int


@dataclass(frozen=True)
class Prompt:
    """A prompt and the words of which it consists."""

    text: str
    colour: str
    background: str
    shape: str


def random_prompts(count: int, seed: int, vocabulary: Vocabulary = DEMO) -> list[Prompt]:
    """Return prompts with random colours, backgrounds, named shapes, sizes and patterns."""
    rng = random.Random(seed)
    sizes = [size for size in vocabulary.sizes if size != vocabulary.small]
    prompts: list[Prompt] = []
    for _ in range(count):
        colour, background = rng.choice(list(vocabulary.hues)), rng.choice(list(vocabulary.backgrounds))
        size, shape = rng.choice(sizes), rng.choice(list(vocabulary.shapes))
        look = rng.choice(("", "", "", *vocabulary.patterns))
        text = vocabulary.caption(colour=colour, background=background, size=size, shape=shape, look=look)
        prompts.append(Prompt(text, colour, background, shape))
    return prompts


def draw_prompts(model: DiffusionModel, prompts: Sequence[str], seed: int) -> list[Image.Image]:
    """Generate an image for each prompt, with consecutive seeds."""
    images: list[Image.Image] = []
    for start in range(0, len(prompts), _AT_ONCE):
        part = prompts[start : start + _AT_ONCE]
        seeds = range(seed + start, seed + start + len(part))
        side = model.resolution
        latents = draw_latents(model, part, list(seeds), steps=STEPS, guidance=GUIDANCE, width=side, height=side)
        images += decode_to_images(model, latents)
    return images


def score(prompts: Sequence[Prompt], images: Sequence[Image.Image], vocabulary: Vocabulary = DEMO) -> Score:
    """Compare the pixels of each image with its prompt."""
    colours = backgrounds = shapes = 0
    for prompt, image in zip(prompts, images, strict=True):
        colours += measure.named_colour(image, vocabulary) == prompt.colour
        backgrounds += measure.named_background(image, vocabulary) == prompt.background
        shapes += measure.closest_shape(image, vocabulary.shapes.values()) == vocabulary.shapes[prompt.shape]
    return Score(len(images), colours, backgrounds, shapes)


def contact_sheet(images: Sequence[Image.Image], columns: int) -> Image.Image:
    """Arrange images in rows, two pixels apart, at twice their size."""
    side = images[0].width + 2
    sheet = Image.new("RGB", (columns * side, -(-len(images) // columns) * side), "black")
    for index, image in enumerate(images):
        sheet.paste(image, (index % columns * side, index // columns * side))
    return sheet.resize((sheet.width * 2, sheet.height * 2), Image.Resampling.NEAREST)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path, nargs="?", default=DEMO_CHECKPOINT)
    parser.add_argument("--prompts", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--vocabulary", choices=list(VOCABULARIES), default=DEMO.name)
    parser.add_argument("--sheet", type=Path, help="also save the images as one sheet, in the order of the printed prompts")
    arguments = parser.parse_args()
    vocabulary = VOCABULARIES[arguments.vocabulary]
    prompts = random_prompts(arguments.prompts, arguments.seed, vocabulary)
    texts = [prompt.text for prompt in prompts]
    images = draw_prompts(load_checkpoint(arguments.checkpoint), texts, arguments.seed)
    if arguments.sheet:
        contact_sheet(images, 10).save(arguments.sheet)
        print("\n".join(texts))
    print(json.dumps(asdict(score(prompts, images, vocabulary))))


if __name__ == "__main__":
    main()
