"""How well the demo checkpoint draws what it is told: `python -m train_embedding.demo.score [CHECKPOINT] [--sheet FILE]`."""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image

from train_embedding.demo import drawing, measure
from train_embedding.engine.loading.checkpoint import load_checkpoint
from train_embedding.engine.model.diffusion_model import DiffusionModel
from train_embedding.engine.sampling import decode_to_images, draw_latents
from train_embedding.hosts.standalone import DEMO_CHECKPOINT

GUIDANCE = 5.0
STEPS = 20
_AT_ONCE = 25


@dataclass(frozen=True)
class Score:
    """Of `pictures` drawn, how many show the colour and the background that their prompts name."""

    pictures: int
    colour: int
    background: int


def random_prompts(count: int, seed: int) -> list[str]:
    """Prompts over every colour, background, named shape, size and pattern."""
    rng = random.Random(seed)
    return [
        drawing.caption(
            colour=rng.choice(list(drawing.HUES)),
            background=rng.choice(list(drawing.BACKGROUNDS)),
            size=rng.choice(("", "big")),
            shape=rng.choice(drawing.NAMED_SHAPES),
            pattern=rng.choice(("", "", *drawing.NAMED_PATTERNS)),
        )
        for _ in range(count)
    ]


def draw_prompts(model: DiffusionModel, prompts: Sequence[str], seed: int) -> list[Image.Image]:
    pictures: list[Image.Image] = []
    for start in range(0, len(prompts), _AT_ONCE):
        part = prompts[start : start + _AT_ONCE]
        seeds = range(seed + start, seed + start + len(part))
        side = model.resolution
        latents = draw_latents(model, part, list(seeds), steps=STEPS, guidance=GUIDANCE, width=side, height=side)
        pictures += decode_to_images(model, latents)
    return pictures


def score(prompts: Sequence[str], pictures: Sequence[Image.Image]) -> Score:
    """Compares what each picture's pixels show with what its prompt names."""
    colours = backgrounds = 0
    for prompt, picture in zip(prompts, pictures, strict=True):
        words = prompt.split()
        colours += measure.named_colour(picture) == next(word for word in words if word in drawing.HUES)
        backgrounds += measure.named_background(picture) == words[-2]
    return Score(len(pictures), colours, backgrounds)


def contact_sheet(pictures: Sequence[Image.Image], columns: int) -> Image.Image:
    """The pictures in rows, two pixels apart, twice their size."""
    side = pictures[0].width + 2
    sheet = Image.new("RGB", (columns * side, -(-len(pictures) // columns) * side), "black")
    for index, picture in enumerate(pictures):
        sheet.paste(picture, (index % columns * side, index // columns * side))
    return sheet.resize((sheet.width * 2, sheet.height * 2), Image.Resampling.NEAREST)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path, nargs="?", default=DEMO_CHECKPOINT)
    parser.add_argument("--prompts", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sheet", type=Path, help="also write the pictures as one sheet, in the order of the prompts printed")
    arguments = parser.parse_args()
    prompts = random_prompts(arguments.prompts, arguments.seed)
    pictures = draw_prompts(load_checkpoint(arguments.checkpoint), prompts, arguments.seed)
    if arguments.sheet:
        contact_sheet(pictures, 10).save(arguments.sheet)
        print("\n".join(prompts))
    print(json.dumps(asdict(score(prompts, pictures))))


if __name__ == "__main__":
    main()
