"""Time of a training step, compared with the WebUI and diffusers' example: `python -m benchmarks.step_time --work FOLDER`.

All train one vector with batch size 1 in fp32 on the CPU, with the same checkpoint: the size of Stable Diffusion 1.5 and random
weights from a seed, written to the folder. The trainers take turns in several rounds, each with a timed large matrix product.
Compared are the medians, and the processor times, which other programs on the machine hardly change. Start the WebUI by hand,
with the checkpoint whose path `--make` prints:

    OMP_NUM_THREADS=2 python launch.py --use-cpu all --no-half --precision full --api … --ckpt FOLDER/random-sd1.safetensors

`--threads` sets the threads of the others, `OMP_NUM_THREADS` those of the WebUI. The column "cores" shows what each used.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from benchmarks.peers import Trainer
from benchmarks.peers.diffusers_example import DiffusersExample
from benchmarks.peers.ours import Ours
from benchmarks.peers.webui import WebUITrainer
from benchmarks.random_checkpoint import make
from benchmarks.step_time_report import Measured, report
from benchmarks.step_time_rounds import machine, measure


def main(arguments: list[str] | None = None) -> int:
    chosen = parser().parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    checkpoint = make(chosen.work, chosen.seed)
    if chosen.make:
        print(checkpoint)
        return 0
    trainers, versions = _trainers(chosen, checkpoint)
    measured = Measured(
        machine={**machine(), **versions},
        setting={"resolution": chosen.resolution, "steps": chosen.steps, "seed": chosen.seed},
        step_flops=step_flops(chosen.resolution),
    )
    for number in range(chosen.rounds):
        measured.rounds.append(measure(trainers, chosen.steps))
        print(f"round {number + 1} of {chosen.rounds}: {measured.rounds[-1].line()}", file=sys.stderr, flush=True)
        if chosen.json:
            chosen.json.write_text(json.dumps(measured.to_json(), indent=1), encoding="utf-8")
    print(report(measured))
    return 0


def step_flops(resolution: int) -> int:
    """Count the operations of a step of this project with batch size 1: UNet and text encoder, forward and backward."""
    from train_embedding.engine.profiling.flops import count_step
    from train_embedding.engine.profiling.meta_models import meta_model

    counted = count_step(meta_model("SD1"), resolution)
    return counted.step + counted.text_encoder


def make_images(folder: Path, side: int) -> Path:
    """Two images of a given side; what is on them makes no difference to the time."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, first, second in (("1 star.png", "navy", "gold"), ("2 star.png", "green", "white")):
        image = Image.new("RGB", (side, side), first)
        image.paste(second, (side // 4, side // 4, side // 2, 3 * side // 4))
        image.save(folder / name)
    return folder


def _trainers(chosen: argparse.Namespace, checkpoint: Path) -> tuple[list[Trainer], dict[str, Any]]:
    """In the order of a round, and what is to be told of them."""
    images = make_images(chosen.work / f"images-{chosen.resolution}", chosen.resolution)
    trainers: list[Trainer] = [Ours(checkpoint, images, chosen.resolution)]
    versions: dict[str, Any] = {}
    if chosen.webui:
        webui = WebUITrainer(chosen.webui, chosen.webui_dir, images, chosen.work / "webui-log", chosen.resolution)
        if checkpoint.stem not in webui.checkpoint():
            raise SystemExit(f"The WebUI has loaded {webui.checkpoint()}; start it with --ckpt {checkpoint}.")
        trainers.append(webui)
    if chosen.diffusers:
        example = DiffusersExample(
            checkout=chosen.diffusers,
            python=chosen.diffusers_python,
            model=checkpoint.parent / "diffusers",
            images=images,
            work=chosen.work / "diffusers-example",
            resolution=chosen.resolution,
            threads=chosen.threads,
        )
        versions["torch of diffusers' example"] = example.torch_version()
        trainers.append(example)
    return trainers, versions


def parser() -> argparse.ArgumentParser:
    built = argparse.ArgumentParser(prog="python -m benchmarks.step_time", description=(__doc__ or "").partition(":")[0])
    built.add_argument("--work", type=Path, required=True, help="a folder outside the repository, for about 7 GB")
    built.add_argument("--make", action="store_true", help="only make the checkpoint, and print its name")
    built.add_argument("--webui", metavar="URL", help="a running WebUI on that checkpoint, started with --api")
    built.add_argument("--webui-dir", type=Path, default=Path(), help="its data folder")
    built.add_argument("--diffusers", type=Path, metavar="CHECKOUT", help="a checkout of diffusers")
    built.add_argument("--diffusers-python", type=Path, default=Path(sys.executable), help="an interpreter for its example")
    built.add_argument("--rounds", type=int, default=5, help="how often they take turns")
    built.add_argument("--steps", type=int, default=4, help="steps that are timed in each turn, after one that is not")
    built.add_argument("--resolution", type=int, default=256, help="side of the images in pixels")
    built.add_argument("--threads", type=int, default=torch.get_num_threads())
    built.add_argument("--seed", type=int, default=0, help="of the checkpoint's weights")
    built.add_argument("--json", type=Path, help="a file for all the numbers")
    return built


if __name__ == "__main__":
    sys.exit(main())
