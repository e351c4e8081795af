"""Operations of whole runs, compared with the WebUI's own trainer: `python -m benchmarks.whole_job`.

Counts, at the size of Stable Diffusion 1.5 and without weights, what a run of a preset computes: the VAE's encoding of the
images, the choice of the start among as many words as possible, the steps and the evaluations. The other side is the preset
`WebUI classic` as the WebUI's own trainer runs it. All values of the presets come from the package. Previews are left out on both
sides.
"""

# pyright: reportUnknownMemberType=false
# torch's annotations of the operation counter are incomplete.

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.webui_step import count_webui_step
from train_embedding.engine.config.presets import PRESET_NAMES
from train_embedding.engine.config.spec import ResolvedSpec, TrainingSpec, resolve
from train_embedding.engine.layers.frozen import original_layers
from train_embedding.engine.model.diffusion_model import DiffusionModel
from train_embedding.engine.profiling.flops import count_step, count_text_encoders
from train_embedding.engine.profiling.meta_models import meta_model
from train_embedding.engine.training.start_words import most_items
from train_embedding.services.training.start_words import MAX_WORDS
from train_embedding.services.training.trainer import EVALUATION_ITEMS

CLASSIC = "WebUI classic"


@dataclass(frozen=True)
class Costs:
    """Operations for one image.

    Attributes:
        encoding: Encoding by the VAE.
        evaluation: Forward pass of text encoder and UNet.
        step: Forward and backward pass of text encoder and UNet.
        webui_step: The same in the WebUI's own trainer.
        example_step: The same in diffusers' example, which has torch's layers and encodes the image in each step.
    """

    encoding: int
    evaluation: int
    step: int
    webui_step: int
    example_step: int


@dataclass(frozen=True)
class Job:
    """A whole run, and the operations of its parts."""

    name: str
    steps: int
    samples: int
    encoding: int
    training: int
    evaluating: int = 0
    choosing: int = 0
    "The choice of the start."

    @property
    def total(self) -> int:
        return self.encoding + self.choosing + self.training + self.evaluating


def main(arguments: list[str] | None = None) -> int:
    chosen = parser().parse_args(arguments)
    model = meta_model("SD1")
    resolution = chosen.resolution or model.resolution
    costs = count_costs(model, count_text_encoders("SD1"), resolution)
    print(report(jobs(costs, chosen, resolution), costs))
    return 0


def count_costs(model: DiffusionModel, text_encoders: int, resolution: int) -> Costs:
    """Count the operations for one image.

    Args:
        model: A model of Stable Diffusion 1.
        text_encoders: Operations of the forward and backward pass of its text encoders.
        resolution: Side of the image in pixels.
    """
    step = count_step(model, resolution)
    with FlopCounterMode(display=False) as encoding, torch.no_grad():
        model.vae.encode(torch.zeros(1, 3, resolution, resolution, device=model.device, dtype=model.vae.dtype))
    with original_layers(model.unet):
        plain = count_step(model, resolution)
    return Costs(
        encoding=encoding.get_total_flops(),
        evaluation=step.forward + text_encoders // 2,
        step=step.step + text_encoders,
        webui_step=count_webui_step(model, resolution) + text_encoders,
        example_step=plain.step + text_encoders + encoding.get_total_flops(),
    )


def jobs(costs: Costs, chosen: argparse.Namespace, resolution: int) -> list[Job]:
    """Return the runs that the table compares. The last one is the WebUI's own."""
    preset, classic = (_resolved(name, resolution) for name in (chosen.preset, CLASSIC))
    budget = preset.budget(0)
    lengths = [chosen.steps] if chosen.steps else sorted({budget, preset.steps})
    ours = [
        _our_job(f"{chosen.preset}, {length} steps{start}", preset, length, costs, chosen.images, chooses=not start)
        for length in lengths
        for start in ("", ", from the init text alone")
    ]
    length = chosen.webui_steps or classic.steps
    return [
        *ours,
        _our_job(f"{CLASSIC}, {length} steps, by this project", classic, length, costs, chosen.images),
        Job(
            f"{CLASSIC}, {length} steps, by the WebUI's own trainer",
            steps=length,
            samples=length * _images_per_step(classic),
            encoding=chosen.images * costs.encoding,
            training=length * _images_per_step(classic) * costs.webui_step,
        ),
    ]


def report(compared: list[Job], costs: Costs) -> str:
    """Return the table in Markdown."""
    theirs = compared[-1]
    lines = [
        "| Run | Samples | Encoding, PFLOP | Start, PFLOP | Steps, PFLOP | Evaluations, PFLOP | Sum, PFLOP | The WebUI's / it |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for job in compared:
        counts = (job.encoding, job.choosing, job.training, job.evaluating, job.total)
        numbers = " | ".join(f"{count / 1e15:.3f}" for count in counts)
        lines.append(f"| {job.name} | {job.samples:,} | {numbers} | {theirs.total / job.total:.2f} |")
    parts = {
        "encoding": costs.encoding,
        "evaluation": costs.evaluation,
        "step": costs.step,
        "step of diffusers' example": costs.example_step,
        "step of the WebUI's own trainer": costs.webui_step,
    }
    lines += ["", "| For one image | TFLOP | Divided by our step |", "|---|---:|---:|"]
    lines += [f"| {name} | {count / 1e12:.3f} | {count / costs.step:.2f} |" for name, count in parts.items()]
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    built = argparse.ArgumentParser(prog="python -m benchmarks.whole_job", description=(__doc__ or "").partition(":")[0])
    built.add_argument("--preset", choices=PRESET_NAMES, default="Fast", help="the preset that is compared (default: Fast)")
    built.add_argument("--steps", type=_positive, help="steps that its run took (default: with and without its second half)")
    built.add_argument("--webui-steps", type=_positive, help=f"steps of the WebUI's run (default: those of {CLASSIC})")
    built.add_argument("--images", type=_positive, default=8, help="images of the dataset (default: 8)")
    built.add_argument("--resolution", type=_positive, help="side of the images in pixels (default: that of the model)")
    return built


def _resolved(preset: str, resolution: int) -> ResolvedSpec:
    return resolve(TrainingSpec.from_json({"embedding": "embedding", "dataset": "images", "preset": preset}), resolution)


def _our_job(name: str, resolved: ResolvedSpec, steps: int, costs: Costs, images: int, *, chooses: bool = False) -> Job:
    samples = steps * _images_per_step(resolved)
    return Job(
        name,
        steps=steps,
        samples=samples,
        encoding=images * costs.encoding,
        training=samples * costs.step,
        evaluating=count_evaluations(resolved, steps) * EVALUATION_ITEMS * costs.evaluation,
        choosing=most_items(MAX_WORDS) * costs.evaluation if chooses else 0,
    )


def count_evaluations(resolved: ResolvedSpec, steps: int) -> int:
    """Count the evaluations of a run that ends after a number of steps, the one before the first step included."""
    extended = steps > resolved.budget(0)
    ended = {steps, resolved.budget(0)} if extended else {steps}
    every = resolved.spec.eval_every
    return len(ended | set(range(0, steps + 1, every))) if every else 0


def _images_per_step(resolved: ResolvedSpec) -> int:
    return resolved.spec.batch_size * resolved.spec.gradient_accumulation_steps


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


if __name__ == "__main__":
    sys.exit(main())
