"""The concepts of the learning benchmark: things that a demo checkpoint can draw but has no word for.

Six are for tuning presets. All others, and those of the second checkpoint, are only for reporting: no preset was chosen by them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw

from train_embedding.demo import drawing, measure
from train_embedding.demo.drawing import Scene
from train_embedding.demo.vocabulary import DEMO, SECOND, Vocabulary, pair, random_scene

Half = Literal["tuning", "reporting", "control"]
TRAINING_IMAGES, HELDOUT_IMAGES = 8, 12
_SEED = 20_000_003
"Far from the seeds of the checkpoints' training images."
_HUE_SPREAD = 3.0


@dataclass(frozen=True)
class Prompt:
    """A prompt for generated images. `{}` stands for the trigger word.

    Attributes:
        text: The prompt.
        background: Its word for the background.
        hues: Hues of the two shapes that it names, for relations.
    """

    text: str
    background: str
    hues: tuple[float, ...] = ()


Make = Callable[[random.Random, Vocabulary], tuple[Scene, str, Prompt]]
"Makes a random scene of a concept, its caption, and a prompt of the kind of the caption; `{}` stands for the trigger word."
Distance = Callable[[Image.Image, Prompt], float]
"Measures how far an image is from a concept, 0…1."


@dataclass(frozen=True)
class Concept:
    """A concept and its measure.

    Attributes:
        name: Name of the concept.
        vocabulary: That of the checkpoint.
        half: Whether presets may be tuned on it; control: nothing can be learned.
        init_text: What an artist would enter: the closest words.
        make: Makes its scenes, captions and prompts.
        distance: Distance of a generated image from the concept, 0…1.
        measures: Description of the distance.
    """

    name: str
    vocabulary: Vocabulary
    half: Half
    init_text: str
    make: Make
    distance: Distance
    measures: str

    def write(self, folder: Path, trigger: str = "[name]") -> tuple[Path, Path]:
        """Write the training and held-out images with their captions, and return both folders.

        Args:
            folder: A new folder.
            trigger: Replaces `{}` in the captions.
        """
        rng = random.Random(f"{_SEED} {self.vocabulary.name} {self.name}")
        folders = folder / "train", folder / "heldout"
        for part, count in zip(folders, (TRAINING_IMAGES, HELDOUT_IMAGES), strict=True):
            part.mkdir(parents=True)
            for index in range(count):
                scene, caption, _prompt = self.make(rng, self.vocabulary)
                drawing.draw(scene).save(part / f"{index + 1:02d}.png")
                (part / f"{index + 1:02d}.txt").write_text(caption.replace("{}", trigger) + "\n")
        return folders

    def prompts(self, count: int) -> list[Prompt]:
        """Return random prompts of the kind of the captions."""
        rng = random.Random(f"{_SEED} {self.vocabulary.name} {self.name} prompts")
        return [self.make(rng, self.vocabulary)[2] for _ in range(count)]


def _single(
    *,
    shape: str = "",
    shapes: Sequence[str] = (),
    hue: float | None = None,
    pattern: str = "",
    style: str = "",
    replaced: Literal["colour", "shape", "look"],
) -> Make:
    """Make concepts of one shape, in whose captions the trigger word replaces the word for one property."""

    def make(rng: random.Random, words: Vocabulary) -> tuple[Scene, str, Prompt]:
        colour, background = rng.choice(list(words.hues)), rng.choice(list(words.backgrounds))
        big = [size for size in words.sizes if size][-1]
        size = big if replaced == "look" else rng.choice(("", big))
        said_shape = rng.choice(shapes or list(words.shapes))
        scene = random_scene(
            rng, words, colour=colour, background=background, size=size,
            shape=shape or words.shapes[said_shape], pattern=pattern, style=style,
        )  # fmt: skip
        if hue is not None:
            scene = replace(scene, hue=(hue + rng.uniform(-_HUE_SPREAD, _HUE_SPREAD)) % 360, saturation=0.92, value=0.92)
        text = words.caption(
            colour="{}" if replaced == "colour" else colour,
            background=background,
            size=size,
            shape="{}" if replaced == "shape" else said_shape,
            look="{}" if replaced == "look" else "",
        )
        return scene, text, Prompt(text, background)

    return make


def _relation(relation: str) -> Make:
    """Make concepts of two shapes, in whose captions the trigger word replaces the word for the relation."""

    def make(rng: random.Random, words: Vocabulary) -> tuple[Scene, str, Prompt]:
        colours, background = rng.sample(list(words.hues), 2), rng.choice(list(words.backgrounds))
        shapes = [rng.choice(list(words.shapes)) for _ in colours]
        scenes = [
            random_scene(rng, words, colour=colour, background=background, shape=words.shapes[shape])
            for colour, shape in zip(colours, shapes, strict=True)
        ]
        text = words.caption_two(
            first=(colours[0], shapes[0]), second=(colours[1], shapes[1]), relation="{}", background=background
        )
        return (
            pair(rng, scenes[0], scenes[1], relation),
            text,
            Prompt(text, background, tuple(words.hues[colour] for colour in colours)),
        )

    return make


def _nothing(rng: random.Random, words: Vocabulary) -> tuple[Scene, str, Prompt]:
    """Make a scene whose caption says everything that it shows, so that nothing is left for the trigger word."""
    colour, background = rng.choice(list(words.hues)), rng.choice(list(words.backgrounds))
    size, shape = rng.choice([size for size in words.sizes if size != words.small]), rng.choice(list(words.shapes))
    scene = random_scene(rng, words, colour=colour, background=background, size=size, shape=words.shapes[shape])
    text = words.caption(colour=colour, background=background, size=size, shape=shape, look="{}")
    return scene, text, Prompt(text, background)


def _thing(shape: str, hue: float, pattern: str, ground: tuple[int, int, int], text: str) -> Make:
    """Make concepts of one thing on its own background, of which captions say nothing else; prompts name another background."""

    def make(rng: random.Random, words: Vocabulary) -> tuple[Scene, str, Prompt]:
        colour, background = next(iter(words.hues)), rng.choice(list(words.backgrounds))
        size = [size for size in words.sizes if size][-1]
        scene = random_scene(rng, words, colour=colour, background=background, size=size, shape=shape, pattern=pattern)
        tinted = tuple(max(0, min(255, channel + rng.randint(-6, 6))) for channel in ground)
        scene = replace(scene, hue=hue + rng.uniform(-_HUE_SPREAD, _HUE_SPREAD), saturation=0.92, value=0.92, background=tinted)  # type: ignore[arg-type]
        return scene, text, Prompt(f"{text} on a {background} {words.ground}", background)

    return make


def _hue(hue: float) -> Distance:
    return lambda image, _prompt: measure.hue_distance(image, hue)


def _shape(shape: str) -> Distance:
    return lambda image, _prompt: measure.shape_distance(image, shape)


def _of_image(distance: Callable[[Image.Image], float]) -> Distance:
    return lambda image, _prompt: distance(image)


def _both(shape: str, hue: float) -> Distance:
    return lambda image, _prompt: (measure.shape_distance(image, shape) + measure.hue_distance(image, hue)) / 2


def halves_distance(image: Image.Image) -> float:
    """Return 1 − agreement of the shape's brightness with a bright left and a dark right half."""
    found = measure.light_and_dark(image)
    if found is None:
        return 1.0
    signs, mask = found
    columns = np.nonzero(mask)[1]
    is_left = np.broadcast_to(np.arange(signs.shape[1]) < (columns.min() + columns.max()) / 2, signs.shape)
    agreement = float(((signs > 0) == is_left)[mask].mean())
    return 1 - max(0.0, 2 * agreement - 1)


def stripes_distance(image: Image.Image) -> float:
    """Return 1 − how well brightness alternates downwards and stays the same across; the best of stripes of 6 to 9 pixels."""
    found = measure.light_and_dark(image)
    if found is None:
        return 1.0
    signs, mask = found
    best = max(
        (measure.correlation(signs, mask, cell, 0) - measure.correlation(signs, mask, 0, cell)) / 2 for cell in (6, 7, 8, 9)
    )
    return 1 - max(0.0, best)


def glow_distance(image: Image.Image) -> float:
    """Return 1 − how many of the shape's pixels are between its colour and the background; 0 for a third of them or more."""
    difference = _difference(image)
    top = np.percentile(difference, 97)
    if top < 60:
        return 1.0
    level = difference / top
    part = float(((level > 0.2) & (level < 0.8)).sum() / max(1, (level > 0.2).sum()))
    return 1 - min(1.0, max(0.0, part - 0.1) / 0.3)


def shadow_distance(image: Image.Image) -> float:
    """Return 1 − the part of the shape that is dark and lies to its lower right; 0 for a sixth of it or more."""
    values, mask = _brightness(image)
    if mask.sum() < 100:
        return 1.0
    bright = float(np.percentile(values[mask], 75))
    dark = mask & (values < 0.55 * bright)
    lit = mask & (values > 0.75 * bright)
    if dark.sum() < 8 or lit.sum() < 8:
        return 1.0
    offset = np.argwhere(dark).mean(0) - np.argwhere(lit).mean(0)
    return 1 - min(1.0, float(dark.sum() / mask.sum()) * 6) if (offset > 1).all() else 1.0


def outline_distance(image: Image.Image) -> float:
    """Return 1 − the part of the silhouette that looks like the background; 0 for half of it or more."""
    mask = measure.object_mask(image)
    if mask.sum() < 40:
        return 1.0
    padded = Image.fromarray((np.pad(mask, 1) * 255).astype(np.uint8)).copy()
    ImageDraw.floodfill(padded, (0, 0), 128)
    filled = (np.asarray(padded) != 128)[1:-1, 1:-1]
    return 1 - min(1.0, 2 * float((filled & ~mask).sum() / max(1, filled.sum())))


def relation_distance(relation: str) -> Distance:
    """Return a measure of where the first of two colours lies relative to the second."""

    def distance(image: Image.Image, prompt: Prompt) -> float:
        centres = [measure.hue_centre(image, hue) for hue in prompt.hues]
        if centres[0] is None or centres[1] is None:
            return 1.0
        offset = centres[1] - centres[0]  # down, across
        length = float(np.linalg.norm(offset))
        if relation == "inside":
            return min(1.0, length / 16)
        wanted = {"diagonal": (1.0, 1.0), "beside": (0.0, 1.0)}[relation]
        return 1.0 if length < 8 else (1 - float(offset @ wanted) / length / float(np.linalg.norm(wanted))) / 2

    return distance


def _brightness(image: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(image.convert("RGB"), dtype=np.float64).max(axis=2), measure.object_mask(image)


def _difference(image: Image.Image) -> np.ndarray:
    pixels = np.asarray(image.convert("RGB"), dtype=np.float64)
    return np.linalg.norm(pixels - measure.background_colour(image), axis=2)


_FILLED, _SOLID = ("square", "circle", "heart", "diamond"), ("ball", "house")
"Shapes large enough to show a pattern or a style."
_HUE_TEXT, _SHAPE_TEXT = "angle between hues as a fraction of 180°", "1 − overlap with the shape"
_ROWS: tuple[tuple[str, Vocabulary, Half, str, Make, Distance, str], ...] = (
    ("lime", DEMO, "tuning", "green", _single(hue=88, replaced="colour"), _hue(88), _HUE_TEXT),
    ("checker", DEMO, "tuning", "striped", _single(pattern="checker", shapes=_FILLED, replaced="look"),
     _of_image(measure.checker_distance), "1 − agreement with a checkerboard"),
    ("arch", DEMO, "tuning", "ring", _single(shape="arch", replaced="shape"), _shape("arch"), _SHAPE_TEXT),
    ("inside", DEMO, "tuning", "above", _relation("inside"), relation_distance("inside"), "distance of centres / 16 pixels"),
    ("glow", DEMO, "tuning", "shaded", _single(style="glow", shapes=_FILLED, replaced="look"),
     _of_image(glow_distance), "1 − soft part of the shape"),
    ("lantern", DEMO, "tuning", "a thing", _thing("hourglass", 305, "rings", (150, 96, 120), "{}"),
     _both("hourglass", 305), "mean of hue distance and 1 − overlap"),
    ("spring", DEMO, "reporting", "green", _single(hue=153, replaced="colour"), _hue(153), _HUE_TEXT),
    ("halves", DEMO, "reporting", "striped", _single(pattern="halves", shapes=_FILLED, replaced="look"),
     _of_image(halves_distance), "1 − agreement with a bright left and a dark right half"),
    ("house", DEMO, "reporting", "square", _single(shape="house", replaced="shape"), _shape("house"), _SHAPE_TEXT),
    ("diagonal", DEMO, "reporting", "above", _relation("diagonal"), relation_distance("diagonal"), "angle to the diagonal"),
    ("shadow", DEMO, "reporting", "shaded", _single(style="shadow", shapes=_FILLED, replaced="look"),
     _of_image(shadow_distance), "1 − dark part to the lower right"),
    ("mascot", DEMO, "reporting", "a thing", _thing("crescent", 42, "zigzag", (38, 108, 112), "{}"),
     _both("crescent", 42), "mean of hue distance and 1 − overlap"),
    ("coral", SECOND, "reporting", "crimson", _single(hue=12, replaced="colour"), _hue(12), _HUE_TEXT),
    ("heart", SECOND, "reporting", "ball", _single(shape="heart", replaced="shape"), _shape("heart"), _SHAPE_TEXT),
    ("striped", SECOND, "reporting", "wavy", _single(pattern="striped", shapes=_SOLID, replaced="look"),
     _of_image(stripes_distance), "1 − agreement with stripes"),
    ("outlined", SECOND, "reporting", "glowing", _single(style="outlined", shapes=_SOLID, replaced="look"),
     _of_image(outline_distance), "1 − hollow part of the silhouette"),
    ("beside", SECOND, "reporting", "below", _relation("beside"), relation_distance("beside"), "angle to the horizontal"),
    ("nothing", DEMO, "control", "a", _nothing, lambda _image, _prompt: 0.0, "nothing"),
)  # fmt: skip
CONCEPTS = tuple(Concept(*row) for row in _ROWS)
