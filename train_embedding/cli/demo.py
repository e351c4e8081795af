"""`train-embedding demo`: the demo from start to end."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from train_embedding.cli.common import Commands, add_command
from train_embedding.services.json_values import to_json
from train_embedding.services.typed_paths import typed_path

OUTPUT = Path("train-embedding-demo")


def add_to(commands: Commands) -> None:
    """Add the command."""
    what = (
        "Create an embedding, train it on sample images with the demo checkpoint, and compare images generated before and after. "
        "The last line of the output is a JSON object."
    )
    parser = add_command(commands, "demo", run, "run the demo from start to end", what)
    parser.add_argument("--set", default="lime", metavar="NAME", help="sample dataset: lime, checker or arch (default: lime)")
    parser.add_argument(
        "--output", type=typed_path, default=OUTPUT, metavar="FOLDER", help=f"folder for the results (default: {OUTPUT})"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the training run (default: 0)")
    parser.add_argument("--json", action="store_true", help="print only the JSON object")
    parser.add_argument(
        "--export",
        type=typed_path,
        metavar="FOLDER",
        help="only copy the demo checkpoint to this folder, such as models/Stable-diffusion of a WebUI",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from train_embedding.cli.train import follow
    from train_embedding.demo.run import export_checkpoint, run_demo

    if arguments.export is not None:
        print(export_checkpoint(arguments.export))
        return 0
    say = _ignore if arguments.json else print
    result = run_demo(arguments.set, arguments.output, seed=arguments.seed, follow=follow, say=say)
    print(json.dumps(to_json(result)))
    return 0


def _ignore(_text: str) -> None:
    pass
