"""`train-embedding bench`: what a training step costs, in operations and in memory."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from train_embedding.cli.common import print_json, print_table

FLOP_COLUMNS = {
    "family": "family",
    "resolution": "resolution",
    "forward_tflop": "UNet forward, TFLOP",
    "step_tflop": "step, TFLOP",
    "ratio": "ratio",
}
MEMORY_COLUMNS = {
    "family": "family",
    "resolution": "resolution",
    "batch": "batch",
    "frozen_layers": "frozen layers",
    "checkpointing": "checkpointing",
    "saved_gib": "saved, GiB",
    "peak_gib": "peak, GiB",
    "weights_gib": "weights, GiB",
    "smallest_card_gib": "card (derived), GiB",
}


def add_to(verbs: Any) -> None:
    parser = verbs.add_parser("bench", help="measure what a training step costs", description="Measurements that need no data.")
    measurements = parser.add_subparsers(title="measurements", metavar="WHAT", required=True)
    _add(measurements, "flops", run_flops, "floating-point operations of a step, counted at true model sizes")
    _add(measurements, "memory", run_memory, "memory of a step, counted at true model sizes, and the card that should hold it")


def _add(measurements: Any, name: str, run: Callable[[argparse.Namespace], int], text: str) -> None:
    parser = measurements.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.add_argument("--json", action="store_true", help="print a list of JSON objects")
    parser.set_defaults(run=run)


def run_flops(arguments: argparse.Namespace) -> int:
    from train_embedding.engine.profiling import flop_table

    return _print(flop_table(), FLOP_COLUMNS, arguments.json)


def run_memory(arguments: argparse.Namespace) -> int:
    from train_embedding.engine.profiling import memory_table

    return _print(memory_table(), MEMORY_COLUMNS, arguments.json)


def _print(rows: list[dict[str, Any]], columns: dict[str, str], as_json: bool) -> int:
    if as_json:
        print_json(rows)
    else:
        print_table(tuple(columns.values()), [tuple(_cell(row[name]) for name in columns) for row in rows])
    return 0


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
