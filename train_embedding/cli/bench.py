"""`train-embedding bench`: count the operations, the kernels and the memory of a training step."""

from __future__ import annotations

import argparse
from typing import Any

from train_embedding.cli.common import Commands, Run, add_command, print_json, print_table

FLOP_COLUMNS = {
    "family": "family",
    "resolution": "resolution",
    "forward_tflop": "UNet forward, TFLOP",
    "step_tflop": "step, TFLOP",
    "ratio": "ratio",
}
LAUNCH_COLUMNS = {
    "family": "family",
    "resolution": "resolution",
    "autocast": "autocast",
    "unet": "UNet",
    "text_encoders": "text encoders",
    "casts": "casts",
    "cast_gb": "casts, GB",
}
MEMORY_COLUMNS = {
    "family": "family",
    "resolution": "resolution",
    "batch": "batch",
    "frozen_layers": "frozen layers",
    "checkpointing": "checkpointing",
    "autocast": "autocast",
    "saved_gib": "saved, GiB",
    "peak_gib": "peak, GiB",
    "weights_gib": "weights, GiB",
    "smallest_card_gib": "smallest GPU, GiB",
}


def add_to(commands: Commands) -> None:
    """Add the command."""
    what = "Count the operations, the kernels and the memory of a training step. No checkpoint and no images are needed."
    parser = commands.add_parser(
        "bench", help="count the operations, the kernels and the memory of a training step", description=what
    )
    measurements = parser.add_subparsers(title="measurements", metavar="MEASUREMENT", required=True)
    _add(measurements, "flops", run_flops, "count the floating-point operations of a step at full model size")
    _add(measurements, "launches", run_launches, "count the kernels that a step launches at full model size")
    _add(
        measurements,
        "memory",
        run_memory,
        "compute the memory of a step at full model size, and the smallest GPU that should suffice",
    )


def _add(measurements: Commands, name: str, run: Run, text: str) -> None:
    parser = add_command(measurements, name, run, text, f"{text[0].upper()}{text[1:]}.")
    parser.add_argument("--json", action="store_true", help="print the table as JSON")


def run_flops(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from train_embedding.engine.profiling import flop_table

    return _print(flop_table(), FLOP_COLUMNS, arguments.json)


def run_launches(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from train_embedding.engine.profiling import launch_table

    return _print(launch_table(), LAUNCH_COLUMNS, arguments.json)


def run_memory(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
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
