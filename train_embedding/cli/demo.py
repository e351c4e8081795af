"""`train-embedding demo`: the main job on the demo checkpoint, with the figures and a picture of before and after."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from train_embedding.services.typed_paths import typed_path

OUTPUT = Path("train-embedding-demo")


def add_to(verbs: Any) -> None:
    what = "Creates an embedding, trains it on sample pictures, and compares before and after. The last line is a JSON object."
    parser = verbs.add_parser("demo", help="the main job on the demo checkpoint", description=what)
    parser.add_argument("--set", default="lime", metavar="NAME", help="sample pictures: lime, checker or arch (default: lime)")
    parser.add_argument(
        "--output", type=typed_path, default=OUTPUT, metavar="FOLDER", help=f"for what it writes (default: {OUTPUT})"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the training run (default: 0)")
    parser.add_argument("--json", action="store_true", help="print nothing but the JSON object")
    parser.add_argument(
        "--export", type=typed_path, metavar="FOLDER", help="only copy the demo checkpoint to a WebUI's folder of them"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from train_embedding.cli.train import follow
    from train_embedding.demo.run import export_checkpoint, run_demo

    if arguments.export is not None:
        print(export_checkpoint(arguments.export))
        return 0
    say = _nothing if arguments.json else print
    result = run_demo(arguments.set, arguments.output, seed=arguments.seed, follow=follow, say=say)
    print(json.dumps(result.to_json()))
    return 0


def _nothing(_text: str) -> None:
    pass
