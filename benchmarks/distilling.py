"""Distillation of long prompts into two vectors: `python -m benchmarks.distilling`.

Each prompt is distilled through the services, without images. Then images are generated with the same noise from the prompt, the
trigger, the first two tokens of the prompt and the untrained embedding, once as prompt and once as negative prompt, and compared.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw

from train_embedding.embeddings.embedding import Embedding
from train_embedding.engine.config.spec import TrainingSpec
from train_embedding.engine.model.diffusion_model import DiffusionModel
from train_embedding.engine.prompts.tokenizer import token_ids
from train_embedding.engine.sampling import decode_to_images, draw_latents
from train_embedding.engine.training.early_stopping import paired_difference
from train_embedding.errors import TrainingFailed
from train_embedding.hosts.standalone import StandaloneHost
from train_embedding.services import Services

NAME = "trigger"
VECTORS = 2
FIRST_SEED = 1_000_000
"Larger than the seeds of the training scenes, so that no image of the training is evaluated."
IMAGES, STEPS, GUIDANCE = 32, 20, 5.0
_AT_ONCE = 16
_COLUMNS = 8

POSITIVE, NEGATIVE = "prompt", "negative"
TEACHER, TRIGGER, FIRST, START = "long prompt", "trigger", "first two tokens", "untrained start"


@dataclass(frozen=True)
class Case:
    """A long prompt to distil.

    Attributes:
        teacher: The long prompt.
        init_text: Initialization text of the embedding.
        beside: The prompt that is used when the long one is the negative prompt.
    """

    teacher: str
    init_text: str
    beside: str = "a big thing on a beige background"


_STAR = ", ".join(["a big striped red star on a navy background"] * 3)
CASES = {
    "star": Case(_STAR, "red star"),
    "star, from its own text": Case(_STAR, _STAR),
    "heart": Case(
        "a big dotted yellow heart on a brown background, dotted yellow heart, big heart, brown background, yellow dots",
        "yellow heart",
    ),
    "ring": Case(
        "a big green ring on a white background, a green ring, big ring, white background, green on white, ring", "green ring"
    ),
    "triangle": Case(
        "a small pink triangle on a black background, small and pink, a triangle on black, black background, pink triangle",
        "pink triangle",
    ),
    "thing": Case(
        "a big patterned orange thing on a beige background, orange and patterned, a thing that is big, beige background",
        "orange thing",
        "a big thing on a white background",
    ),
    "words to avoid": Case(
        "red, orange, yellow, pink, striped, dotted, patterned, small, black background, navy background, brown background",
        "dotted red",
        "a star on a background",
    ),
}


@dataclass(frozen=True)
class Margin:
    """Distance of images from those of the long prompt, compared with that of the trigger's images."""

    distance: float
    "Mean over the images of the RMS difference of the latents."
    difference: float
    standard_error: float

    @property
    def errors(self) -> float:
        return self.difference / self.standard_error


@dataclass(frozen=True)
class Result:
    """Result of a prompt in a role, POSITIVE or NEGATIVE: the distance of the trigger, and the margins of FIRST and START."""

    case: str
    role: str
    seed: int
    tokens: int
    steps: int
    seconds: float
    distance: float
    margins: dict[str, Margin]

    def to_json(self) -> dict[str, Any]:
        margins = {name: {**asdict(margin), "errors": margin.errors} for name, margin in self.margins.items()}
        return {**asdict(self), "margins": margins}


def measure(
    name: str, seed: int = 0, *, guidance: float = GUIDANCE, sheet: list[tuple[str, list[Image.Image]]] | None = None
) -> list[Result]:
    """Distil one of CASES, and evaluate the result as prompt and as negative prompt.

    Args:
        name: The case.
        seed: Seed of the training.
        guidance: Guidance scale of the evaluated images.
        sheet: If given, rows of images are added to it.

    Raises:
        TrainingFailed: The run failed.
    """
    case = CASES[name]
    with tempfile.TemporaryDirectory() as folder:
        host = StandaloneHost(Path(folder))
        services = Services(host)
        services.library.create(NAME, case.init_text, VECTORS)
        before = services.library.read(NAME)
        spec = TrainingSpec.from_json(
            {
                "embedding": NAME,
                "teacher_prompt": case.teacher,
                "preset": "Fast",
                "seed": seed,
                "save_every": 0,
                "preview_every": 0,
            }
        )
        ended = services.runs.wait(services.runs.start(spec).id)
        if ended.error:
            raise TrainingFailed(ended.error, ended.hint)
        after = services.library.read(NAME)
        with host.model() as model:
            drawn = {role: _draw(model, case, role, before, after, guidance) for role in (POSITIVE, NEGATIVE)}
            if sheet is not None:
                for role, latents in drawn.items():
                    sheet += [
                        (f"{name}, {role}: {what}", decode_to_images(model, some[:_COLUMNS])) for what, some in latents.items()
                    ]
    blank = Result(name, "", seed, len(token_ids(case.teacher)), ended.step, round(ended.seconds, 1), 0.0, {})
    return [_judged(replace(blank, role=role), latents) for role, latents in drawn.items()]


def first_tokens(text: str, count: int) -> str:
    """Return the shortest beginning of a text with its first tokens."""
    wanted = token_ids(text)[:count]
    return next(text[:end] for end in range(len(text) + 1) if token_ids(text[:end]) == wanted)


def _draw(
    model: DiffusionModel, case: Case, role: str, before: Embedding, after: Embedding, guidance: float
) -> dict[str, torch.Tensor]:
    """Generate the latents to compare, [IMAGES, 4, h, w] each, with the same seeds."""
    texts = {
        TEACHER: (case.teacher, []),
        TRIGGER: (NAME, [after]),
        FIRST: (first_tokens(case.teacher, VECTORS), []),
        START: (NAME, [before]),
    }
    drawn: dict[str, torch.Tensor] = {}
    for what, (text, embeddings) in texts.items():
        prompt, negative = (text, "") if role == POSITIVE else (case.beside, text)
        drawn[what] = _latents(model, prompt, negative, embeddings, guidance)
    return drawn


def _latents(model: DiffusionModel, prompt: str, negative: str, embeddings: Sequence[Embedding], guidance: float) -> torch.Tensor:
    side = model.resolution
    parts = [
        draw_latents(
            model,
            [prompt] * _AT_ONCE,
            range(FIRST_SEED + start, FIRST_SEED + start + _AT_ONCE),
            negative_prompt=negative,
            steps=STEPS,
            guidance=guidance,
            width=side,
            height=side,
            embeddings=embeddings,
        )
        for start in range(0, IMAGES, _AT_ONCE)
    ]
    return torch.cat(parts).float().cpu()


def _judged(result: Result, latents: dict[str, torch.Tensor]) -> Result:
    distances = {what: _distances(some, latents[TEACHER]) for what, some in latents.items() if what != TEACHER}
    near = distances.pop(TRIGGER)
    margins = {what: Margin(float(far.mean()), *paired_difference(far - near)) for what, far in distances.items()}
    return replace(result, distance=float(near.mean()), margins=margins)


def _distances(ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    """Return the RMS difference of each image, [B]; latents have a standard deviation near 1."""
    return (ours - theirs).square().mean((1, 2, 3)).sqrt()


def table(results: Sequence[Result]) -> str:
    """Return a Markdown table; differences have their standard error, and are also given in standard errors."""
    lines = [
        f"| prompt (tokens) | as | seed | steps | {TRIGGER} | {FIRST} | farther by | errors | {START} | farther by | errors |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in results:
        cells = [f"{one.case} ({one.tokens})", one.role, str(one.seed), str(one.steps), f"{one.distance:.3f}"]
        for what in (FIRST, START):
            margin = one.margins[what]
            cells += [f"{margin.distance:.3f}", f"{margin.difference:.3f} ± {margin.standard_error:.3f}", f"{margin.errors:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def contact_sheet(rows: Sequence[tuple[str, Sequence[Image.Image]]]) -> Image.Image:
    """Arrange rows of images under their titles; images in a column have the same seed."""
    side, margin = rows[0][1][0].width, 14
    sheet = Image.new("RGB", (_COLUMNS * (side + 2), len(rows) * (side + margin)), "white")
    pen = ImageDraw.Draw(sheet)
    for number, (title, images) in enumerate(rows):
        top = number * (side + margin)
        pen.text((4, top + 1), title, fill="black")
        for column, image in enumerate(images):
            sheet.paste(image, (column * (side + 2), top + margin))
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.distilling", description=__doc__)
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES), metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--seeds", "--seed", nargs="+", type=int, default=[0], help="seeds of the training")
    parser.add_argument(
        "--guidance", type=float, default=GUIDANCE, help=f"guidance scale of evaluated images (default: {GUIDANCE})"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument("--sheet", type=Path, help="image file for a contact sheet of the first seed")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    results: list[Result] = []
    rows: list[tuple[str, list[Image.Image]]] = []
    for seed in arguments.seeds:
        for name in arguments.cases:
            wanted = rows if arguments.sheet and seed == arguments.seeds[0] else None
            results += measure(name, seed, guidance=arguments.guidance, sheet=wanted)
            print(table(results[-2:]).split("\n", 2)[2], flush=True)
    print(f"\n{table(results)}")
    least = min(margin.errors for one in results for margin in one.margins.values())
    print(f"\nThe smallest margin is {least:.1f} standard errors, over {IMAGES} images.")
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        values = {"guidance": arguments.guidance, "torch": torch.__version__, "results": [one.to_json() for one in results]}
        arguments.json.write_text(json.dumps(values, indent=1), encoding="utf-8")
    if arguments.sheet:
        arguments.sheet.parent.mkdir(parents=True, exist_ok=True)
        contact_sheet(rows).save(arguments.sheet)


if __name__ == "__main__":
    main()
