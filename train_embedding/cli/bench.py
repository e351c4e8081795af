"""`train-embedding bench`: what a training step costs."""

from __future__ import annotations

import argparse
from typing import Any

from train_embedding.cli.common import print_json, print_table

COLUMNS = {
    "family": "family",
    "resolution": "resolution",
    "forward_tflop": "UNet forward, TFLOP",
    "step_tflop": "step, TFLOP",
    "ratio": "ratio",
}


def add_to(verbs: Any) -> None:
    parser = verbs.add_parser("bench", help="measure what a training step costs", description="Measurements that need no data.")
    measurements = parser.add_subparsers(title="measurements", metavar="WHAT", required=True)
    flops = measurements.add_parser("flops", help="floating-point operations of a step, counted at true model sizes")
    flops.add_argument("--json", action="store_true", help="print a list of JSON objects")
    flops.set_defaults(run=run_flops)


def run_flops(arguments: argparse.Namespace) -> int:
    from train_embedding.engine.flops import flop_table

    rows = flop_table()
    if arguments.json:
        print_json(rows)
    else:
        print_table(tuple(COLUMNS.values()), [tuple(_cell(row[name]) for name in COLUMNS) for row in rows])
    return 0


def _cell(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
