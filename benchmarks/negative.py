"""Negative embeddings: do they bring images closer to true drawings? `python -m benchmarks.negative run`, then `report`.

Each method makes a negative prompt, of words or of an embedding. Images of prompts that no method has seen are generated with it,
and compared with images of the same prompts and seeds without a negative prompt. `cost` counts the operations of a step.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image, ImageFilter

from benchmarks.features import image_features
from benchmarks.guided import AVOIDED, Guided, encode_examples, initial, loss_with, operations, train_guided
from benchmarks.learning import CHECKPOINTS, checkpoint, words
from benchmarks.nearest_drawing import nearest_distance
from train_embedding.demo import measure
from train_embedding.demo.drawing import Scene, draw
from train_embedding.demo.vocabulary import DEMO, VOCABULARIES, Vocabulary, random_scene
from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.formats import read_embedding, write_embedding
from train_embedding.engine.config.spec import TrainingSpec
from train_embedding.engine.model.diffusion_model import DiffusionModel
from train_embedding.engine.sampling import decode_to_images, draw_latents
from train_embedding.errors import TrainingFailed
from train_embedding.hosts.standalone import StandaloneHost
from train_embedding.services import Services
from train_embedding.services.kinds import kind_values

RESULTS = Path("benchmark-results/negative")
PROMPTS, TRAINING_IMAGES, REFERENCES = 32, 16, 4
STEPS, GUIDANCE = 20, 5.0
NONE, OWN = "none", "bad images: its own"
MEASURES = ("nearest", "shape", "hue", "similarity", "right")
_SEED = 30_000_007
"Far from the seeds of the checkpoints' training images."
_FIRST_IMAGE_SEED = 2_000_000
_DRAWN = 64
"Images without guidance, of which the poorest are the bad images."
_AT_ONCE = 32

Source = Literal["none", "true", "words", "packed", "own", "spoiled", "start", "guided"]
Row = dict[str, Any]


_NOT_GUIDED = Guided()


@dataclass(frozen=True)
class Method:
    """How a negative prompt is made.

    Attributes:
        source: Nothing; true drawings in place of generated images; words; an embedding packed from these words; one trained from
            bad images with the kind "Negative", which are the checkpoint's own poor images or spoiled drawings; an untrained one;
            or one trained by guided predictions.
        vectors: Number of vectors.
        guided: Options of guided training.
    """

    source: Source
    vectors: int = 0
    guided: Guided = _NOT_GUIDED


def _guided(guidance: float, vectors: int, steps: int, batch: int = 2) -> Method:
    return Method("guided", vectors, Guided(guidance, 0, vectors, steps, batch))


METHODS = {
    NONE: Method("none"),
    "true drawings, through the VAE": Method("true"),
    "words": Method("words"),
    "words, packed": Method("packed", 4),
    "untrained": Method("start", 2),
    OWN: Method("own", 4),
    "bad images: spoiled": Method("spoiled", 4),
    "guided, s 3, 1 vector, 150 steps": _guided(3.0, 1, 150),
    "guided, s 3, 4 vectors, 400 steps": _guided(3.0, 4, 400),
    "guided, s 5, 1 vector, 150 steps": _guided(5.0, 1, 150),
    "guided, s 5, 2 vectors, 250 steps": _guided(5.0, 2, 250),
    "guided, s 5, 4 vectors, 400 steps": _guided(5.0, 4, 400),
}
STEPS_OF_TRAINING = {
    "usual training": Guided(1.0, 2, 0),
    "guided": Guided(5.0, 0, 2),
    "joint": Guided(5.0, 2, 2),
}
"What `cost` counts."


@dataclass(frozen=True)
class Prompt:
    """A prompt, and a true drawing of it.

    Attributes:
        text: The prompt.
        scene: The drawing.
        colour: The word for the colour.
        background: The word for the background.
        radii: Smallest and largest radius of the size that it names.
    """

    text: str
    scene: Scene
    colour: str
    background: str
    radii: tuple[float, float]


def random_prompts(rng: random.Random, vocabulary: Vocabulary, count: int, known: Sequence[Prompt] = ()) -> list[Prompt]:
    """Return prompts of one shape without a pattern, none of which has the colour and the shape of a known one."""
    taken = {(prompt.colour, prompt.scene.shape) for prompt in known}
    found: list[Prompt] = []
    while len(found) < count:
        colour, background = rng.choice(list(vocabulary.hues)), rng.choice(list(vocabulary.backgrounds))
        size = rng.choice([size for size in vocabulary.sizes if size != vocabulary.small])
        shape, look = rng.choice(list(vocabulary.shapes)), rng.choice(("", "", *vocabulary.styles))
        scene = random_scene(
            rng, vocabulary, colour=colour, background=background, size=size,
            shape=vocabulary.shapes[shape], style=vocabulary.styles.get(look, ""),
        )  # fmt: skip
        if (colour, scene.shape) not in taken:
            text = vocabulary.caption(colour=colour, background=background, size=size, shape=shape, look=look)
            found.append(Prompt(text, scene, colour, background, vocabulary.sizes[size]))
    return found


@cache
def prompts_of(name: str) -> tuple[list[Prompt], list[Prompt]]:
    """Return the prompts of training images and those that are evaluated, for the checkpoint of a vocabulary."""
    rng, vocabulary = random.Random(f"{_SEED} {name}"), VOCABULARIES[name]
    training = random_prompts(rng, vocabulary, TRAINING_IMAGES)
    return training, random_prompts(rng, vocabulary, PROMPTS, training)


def vague_words(vocabulary: Vocabulary) -> str:
    """Return the words that stand for what has no word of its own: the nearest that these checkpoints have to "bad anatomy"."""
    return ", ".join(
        (
            f"a {vocabulary.patterned} {vocabulary.any_hue} {vocabulary.thing}",
            f"a {vocabulary.styled} {vocabulary.thing}",
            f"{vocabulary.small} {vocabulary.any_hue} {vocabulary.thing} {vocabulary.related} a {vocabulary.thing}",
        )
    )


def negative_prompt(name: str, method: Method, seed: int) -> tuple[str, list[Embedding]]:
    """Make the negative prompt of a method for the checkpoint of a vocabulary, and the embeddings that it names."""
    vocabulary, model = VOCABULARIES[name], checkpoint(name)
    text = vague_words(vocabulary)
    if method.source in ("none", "true", "words"):
        return (text if method.source == "words" else ""), []
    if method.source == "packed":
        return AVOIDED, [_by_services(name, method.vectors, preset="Fast", teacher_prompt=text, seed=seed)]
    if method.source in ("own", "spoiled"):
        with tempfile.TemporaryDirectory() as folder:
            write_bad_images(Path(folder), name, method.source, seed)
            values = {**kind_values("negative"), "preset": "Quality", "dataset": folder, "seed": seed}
            return AVOIDED, [_by_services(name, method.vectors, **values, candidates=", ".join(words(vocabulary)))]
    start = initial(model, AVOIDED, vocabulary.thing, method.vectors)
    if method.source == "start":
        return AVOIDED, [start]
    training, _evaluated = prompts_of(name)
    examples = encode_examples(model, [draw(prompt.scene) for prompt in training], [prompt.text for prompt in training])
    return AVOIDED, train_guided(model, examples, [start], method.guided, seed)


def write_bad_images(folder: Path, name: str, source: Source, seed: int) -> None:
    """Write bad images with captions: the poorest of many unguided images of the checkpoint, or drawings that are spoiled."""
    training, _evaluated = prompts_of(name)
    if source == "spoiled":
        rng = random.Random(seed)
        images = [(spoil(draw(prompt.scene), rng), prompt) for prompt in training]
    else:
        many = [training[index % len(training)] for index in range(_DRAWN)]
        seeds = range(_FIRST_IMAGE_SEED - _DRAWN * (seed + 1), _FIRST_IMAGE_SEED - _DRAWN * seed)
        drawn = drawn_images(checkpoint(name), [prompt.text for prompt in many], seeds, "", [], guidance=1.0)
        distances = [_nearest(image, prompt, name) for image, prompt in zip(drawn, many, strict=True)]
        poorest = sorted(range(_DRAWN), key=lambda index: -distances[index])[:TRAINING_IMAGES]
        images = [(drawn[index], many[index]) for index in poorest]
    for index, (image, prompt) in enumerate(images):
        image.save(folder / f"{index:02d}.png")
        (folder / f"{index:02d}.txt").write_text(prompt.text, encoding="utf-8")


def spoil(image: Image.Image, rng: random.Random) -> Image.Image:
    """Blur an image, make it coarse, or add noise."""
    fault = rng.choice(("blurred", "coarse", "noisy"))
    if fault == "blurred":
        return image.filter(ImageFilter.GaussianBlur(rng.uniform(2, 5)))
    if fault == "coarse":
        side = rng.choice((8, 10, 12))
        return image.resize((side, side), Image.Resampling.BOX).resize(image.size, Image.Resampling.NEAREST)
    noise = Image.frombytes("RGB", image.size, rng.randbytes(3 * image.width * image.height))
    return Image.blend(image, noise, rng.uniform(0.25, 0.5))


def drawn_images(
    model: DiffusionModel,
    texts: Sequence[str],
    seeds: Sequence[int],
    negative: str,
    embeddings: Sequence[Embedding],
    *,
    guidance: float = GUIDANCE,
) -> list[Image.Image]:
    """Generate an image for each prompt and seed."""
    side = model.resolution
    images: list[Image.Image] = []
    for first in range(0, len(texts), _AT_ONCE):
        part = slice(first, first + _AT_ONCE)
        latents = draw_latents(
            model, texts[part], seeds[part], negative_prompt=negative, steps=STEPS, guidance=guidance,
            width=side, height=side, embeddings=embeddings,
        )  # fmt: skip
        images += decode_to_images(model, latents)
    return images


def through_vae(model: DiffusionModel, images: Sequence[Image.Image]) -> list[Image.Image]:
    """Encode and decode images: the nearest that the checkpoint could come to them."""
    return decode_to_images(model, encode_examples(model, images, []).latents)


def measured(name: str, images: Sequence[Image.Image], prompts: Sequence[Prompt]) -> dict[str, list[float]]:
    """Measure the images of prompts, one each, with the checkpoint of a vocabulary.

    Returns:
        By measure, a value of each image: distance from the nearest true drawing, from the shape and from the hue, similarity to
        true drawings, and 1 if colour, background and shape are those of the prompt.
    """
    vocabulary = VOCABULARIES[name]
    pairs = list(zip(images, prompts, strict=True))
    close = image_features(images)[:, None] @ _references(name).transpose(1, 2)  # [N, 1, REFERENCES]

    def is_right(image: Image.Image, prompt: Prompt) -> bool:
        return (
            measure.named_colour(image, vocabulary) == prompt.colour
            and measure.named_background(image, vocabulary) == prompt.background
            and measure.closest_shape(image, vocabulary.shapes.values()) == prompt.scene.shape
        )

    return {
        "nearest": [_nearest(*pair, name) for pair in pairs],
        "shape": [measure.shape_distance(image, prompt.scene.shape) for image, prompt in pairs],
        "hue": [measure.hue_distance(image, vocabulary.hues[prompt.colour]) for image, prompt in pairs],
        "similarity": close.mean((1, 2)).tolist(),
        "right": [float(is_right(*pair)) for pair in pairs],
    }


@cache
def _references(name: str) -> torch.Tensor:
    """Return the features of true drawings of the evaluated prompts, [PROMPTS, REFERENCES, d]."""
    rng, vocabulary = random.Random(f"{_SEED} {name} references"), VOCABULARIES[name]
    drawings: list[Image.Image] = []
    for prompt in prompts_of(name)[1]:
        size = next(size for size, radii in vocabulary.sizes.items() if radii == prompt.radii)
        for _ in range(REFERENCES):
            drawings.append(
                draw(
                    random_scene(
                        rng, vocabulary, colour=prompt.colour, background=prompt.background, size=size,
                        shape=prompt.scene.shape, style=prompt.scene.style,
                    )
                )
            )  # fmt: skip
    return image_features(drawings).reshape(PROMPTS, REFERENCES, -1)


def _nearest(image: Image.Image, prompt: Prompt, name: str) -> float:
    return nearest_distance(image, prompt.scene, prompt.radii, VOCABULARIES[name])


def _by_services(name: str, vectors: int, **values: Any) -> Embedding:
    """Create and train an embedding as the tab does, without previews."""
    with tempfile.TemporaryDirectory() as folder:
        services = Services(StandaloneHost(Path(folder), CHECKPOINTS[name]))
        services.library.create(AVOIDED, VOCABULARIES[name].thing, vectors)
        spec = TrainingSpec.from_json({**values, "embedding": AVOIDED, "save_every": 0, "preview_every": 0})
        ended = services.runs.wait(services.runs.start(spec).id)
        if ended.error:
            raise TrainingFailed(ended.error, ended.hint)
        return services.library.read(AVOIDED)


def paired(rows: Sequence[Row], base: Sequence[Row], name: str) -> tuple[float, float]:
    """Return the mean difference of a measure from images without the method, and its standard error.

    Images are paired by prompt and seed. Prompts and seeds are both samples of larger populations, so their variances are added.
    """
    without = {row["image_seed"]: torch.tensor(row[name], dtype=torch.float64) for row in base}
    differences = torch.stack([torch.tensor(row[name], dtype=torch.float64) - without[row["image_seed"]] for row in rows])
    squared = differences.mean(0).var() / differences.shape[1]
    if len(rows) > 1:
        squared = squared + differences.mean(1).var() / len(rows)
    return float(differences.mean()), float(squared**0.5)


def report(rows: Sequence[Row]) -> str:
    """Return a Markdown table for each checkpoint: means without a negative prompt, and differences from them."""
    tables: list[str] = []
    for name in dict.fromkeys(row["checkpoint"] for row in rows):
        ours = [row for row in rows if row["checkpoint"] == name]
        base = [row for row in ours if row["method"] == NONE]
        lines = [f"| {name} | trainings | images | " + " | ".join(MEASURES) + " |", "|---" * (len(MEASURES) + 3) + "|"]
        for method in (each for each in METHODS if any(row["method"] == each for row in ours)):
            mine = [row for row in ours if row["method"] == method]
            cells = [method, str(len({row["seed"] for row in mine})), str(sum(len(row["nearest"]) for row in mine))]
            for measured_name in MEASURES:
                if method == NONE:
                    cells.append(f"{sum(map(sum, (row[measured_name] for row in base))) / len(base) / PROMPTS:.3f}")
                else:
                    difference, error = paired(mine, base, measured_name)
                    cells.append(f"{difference:+.3f} ± {error:.3f}")
            lines.append(f"| {' | '.join(cells)} |")
        tables.append("\n".join(lines))
    return "\n\n".join(tables)


def run(arguments: argparse.Namespace) -> None:
    """Train what is missing, generate and measure the images that are missing, and append each result to the file."""
    torch.set_num_threads(1)
    arguments.results.mkdir(parents=True, exist_ok=True)
    for name in arguments.checkpoints:
        for seed in arguments.seeds:
            for method in arguments.methods:
                if seed == arguments.seeds[0] or METHODS[method].source not in ("none", "true", "words", "start"):
                    _run(arguments.results, name, method, seed, range(arguments.image_seeds))


def _run(results: Path, name: str, method: str, seed: int, image_seeds: Sequence[int]) -> None:
    file = results / "rows.jsonl"
    known = [row["image_seed"] for row in read(file) if (row["checkpoint"], row["method"], row["seed"]) == (name, method, seed)]
    missing = [each for each in image_seeds if each not in known]
    if not missing:
        return
    began = time.perf_counter()
    text, embeddings = _kept(results, name, method, seed)
    trained = time.perf_counter()
    prompts = prompts_of(name)[1]
    for image_seed in missing:
        seeds = range(_FIRST_IMAGE_SEED + image_seed * PROMPTS, _FIRST_IMAGE_SEED + (image_seed + 1) * PROMPTS)
        if METHODS[method].source == "true":
            images = through_vae(checkpoint(name), [draw(prompt.scene) for prompt in prompts])
        else:
            images = drawn_images(checkpoint(name), [prompt.text for prompt in prompts], seeds, text, embeddings)
        values = {key: [round(each, 5) for each in found] for key, found in measured(name, images, prompts).items()}
        row = {"checkpoint": name, "method": method, "seed": seed, "image_seed": image_seed, **values}
        with file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")
        print(
            f"{name}, {method}, seed {seed}, image seed {image_seed}: nearest {sum(values['nearest']) / PROMPTS:.4f}, "
            f"shape {sum(values['shape']) / PROMPTS:.4f}, right {sum(values['right']) / PROMPTS:.3f}; "
            f"{trained - began:.0f} s of training",
            flush=True,
        )


def _kept(results: Path, name: str, method: str, seed: int) -> tuple[str, list[Embedding]]:
    """Make a negative prompt, or read the embedding that was trained before."""
    file = results / f"{name} {re.sub('[^a-z0-9]+', '-', method.lower())} {seed}.safetensors"
    if file.exists():
        return AVOIDED, [Embedding(AVOIDED, read_embedding(file).vectors)]
    text, embeddings = negative_prompt(name, METHODS[method], seed)
    for embedding in embeddings:
        write_embedding(embedding, file)
    return text, embeddings


def read(file: Path) -> list[Row]:
    """Read the results; an empty list if there are none."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def losses(arguments: argparse.Namespace) -> None:
    """Print the loss of the guided prediction of true drawings, with each embedding that was trained and without."""
    for name in arguments.checkpoints:
        model, prompts = checkpoint(name), prompts_of(name)[1]
        examples = encode_examples(model, [draw(prompt.scene) for prompt in prompts], [prompt.text for prompt in prompts])
        print(f"{name}, {NONE}: {loss_with(model, examples, [], GUIDANCE):.4f}, ", end="")
        print(f"without guidance {loss_with(model, examples, [], 1.0):.4f}")
        for file in sorted(arguments.results.glob(f"{name} *.safetensors")):
            trained = Embedding(AVOIDED, read_embedding(file).vectors)
            print(f"{file.stem}: {loss_with(model, examples, [trained], GUIDANCE):.4f}")


def cost(_arguments: argparse.Namespace) -> None:
    """Print the operations of a step of each kind of training, relative to a forward pass."""
    for name, options in STEPS_OF_TRAINING.items():
        print(f"{name}: {operations(checkpoint(DEMO.name), options):.2f} forward passes")


def parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    built = argparse.ArgumentParser(prog="python -m benchmarks.negative", description=__doc__)
    verbs = built.add_subparsers(required=True)
    runs = verbs.add_parser("run", help="train and measure what is missing in the results")
    runs.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS), metavar="METHOD")
    runs.add_argument("--seeds", nargs="+", type=int, default=[0], help="seeds of the trainings")
    runs.add_argument("--image-seeds", type=int, default=2, help="images of each prompt")
    runs.set_defaults(run=run)
    reports = verbs.add_parser("report", help="print tables")
    reports.set_defaults(run=lambda arguments: print(report(read(arguments.results / "rows.jsonl"))))
    evaluations = verbs.add_parser("losses", help="print the loss of guided predictions with the trained embeddings")
    evaluations.set_defaults(run=losses)
    for verb in (runs, evaluations):
        verb.add_argument("--checkpoints", nargs="+", choices=list(CHECKPOINTS), default=list(CHECKPOINTS))
    for verb in (runs, reports, evaluations):
        verb.add_argument("--results", type=Path, default=RESULTS, help="folder of the results")
    verbs.add_parser("cost", help="count the operations of a training step").set_defaults(run=cost)
    return built


if __name__ == "__main__":
    chosen = parser().parse_args()
    chosen.run(chosen)
