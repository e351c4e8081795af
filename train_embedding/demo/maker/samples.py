"""Draws the sample sets: `python -m train_embedding.demo.maker.samples`."""

from __future__ import annotations

import random
from dataclasses import replace

from train_embedding.demo.drawing import Scene, draw
from train_embedding.demo.sets import LIME, SETS, TRAINING_IMAGES, SampleSet
from train_embedding.demo.vocabulary import DEMO, random_scene


def draw_set(sample_set: SampleSet, seed: int) -> None:
    """Write the images of a set, with captions in `.txt` files, in which [name] stands for the word of the concept."""
    rng = random.Random(seed)
    for index, caption in enumerate(sample_set.captions):
        training = index < TRAINING_IMAGES
        folder = sample_set.training_folder if training else sample_set.heldout_folder
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{index + 1 if training else index + 1 - TRAINING_IMAGES:02d}"
        draw(_scene(sample_set.name, caption, rng)).save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text(caption.replace("{}", "[name]") + "\n")


def _scene(concept: str, caption: str, rng: random.Random) -> Scene:
    words = caption.split()
    scene = random_scene(
        rng,
        DEMO,
        colour=next((word for word in words if word in DEMO.hues), "green"),
        background=words[-2],
        size="big" if "big" in words else "",
        shape="arch" if concept == "arch" else next((word for word in words if word in DEMO.shapes), "square"),
        pattern="checker" if concept == "checker" else "",
    )
    return replace(scene, hue=LIME + rng.uniform(-3, 3)) if concept == "lime" else scene


if __name__ == "__main__":
    for number, each in enumerate(SETS.values()):
        draw_set(each, number)
