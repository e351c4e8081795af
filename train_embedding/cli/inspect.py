"""`train-embedding inspect`: norms and nearest tokens of the vectors of an embedding."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from train_embedding.cli.common import (
    Commands,
    add_command,
    add_host_options,
    count,
    open_services,
    print_json,
    print_table,
)
from train_embedding.services.image_files import save_image
from train_embedding.services.typed_paths import typed_path

if TYPE_CHECKING:
    from train_embedding.services.inspection import EncoderReport, Report


def add_to(commands: Commands) -> None:
    """Add the command."""
    what = "Show the norm of each vector of an embedding, and its nearest tokens."
    parser = add_command(commands, "inspect", run, "inspect the vectors of an embedding", what)
    parser.add_argument("name", metavar="NAME", help="name of the embedding")
    parser.add_argument("--top", type=int, default=5, metavar="N", help="nearest tokens per vector, 0 to 100 (default: 5)")
    parser.add_argument(
        "--text", default="", metavar="TEXT", help="text to compare the vectors with (default: the initialization text)"
    )
    parser.add_argument(
        "--neighbours", type=int, default=0, metavar="N",
        help="also list the N nearest embeddings; reads all embeddings of the same model family",
    )  # fmt: skip
    parser.add_argument("--heat-map", type=typed_path, metavar="FILE", help="save an image of the similarity between the vectors")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    add_host_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    inspection = open_services(arguments).inspection
    report = inspection.inspect(arguments.name, arguments.top, arguments.text, arguments.neighbours)
    if arguments.heat_map:
        save_image(inspection.heat_map(report), arguments.heat_map)
    if arguments.json:
        print_json(report)
    else:
        print_report(report)
    return 0


def print_report(report: Report) -> None:
    """Print a report as text."""
    trained = f", trained for {count(report.step, 'step')}" if report.step else ""
    where = f" on {report.checkpoint_name}" if report.checkpoint_name else ""
    print(f"{report.name}: {count(report.count, 'vector')} for {report.family}{trained}{where}")
    for key, value in report.metadata.items():
        print(f"{key.replace('_', ' ')}: {value}")
    if report.reference:
        print(f'The column "similarity" is the cosine with {report.reference}.')
    for encoder in report.encoders:
        _print_encoder(encoder, with_similarity=bool(report.reference))
    if report.neighbours:
        print()
        rows = [(found.name, str(found.vectors), f"{found.similarity:.3f}") for found in report.neighbours]
        print_table(("nearest embedding", "vectors", "similarity"), rows)
    for warning in report.warnings:
        print(warning)


def _print_encoder(encoder: EncoderReport, with_similarity: bool) -> None:
    print()
    print(f"{encoder.key}, width {encoder.width}{_usual_norm(encoder)}{_overall(encoder)}")
    with_tokens = encoder.vocabulary_norm is not None
    titles = ["vector", "norm", "min", "max", *["similarity"] * with_similarity, *["nearest tokens"] * with_tokens]
    rows: list[list[str]] = []
    for number, vector in enumerate(encoder.vectors):
        cosine = ["-" if vector.reference_cosine is None else f"{vector.reference_cosine:.3f}"] * with_similarity
        tokens = [", ".join(f"{near.text} {near.cosine:.2f}" for near in vector.nearest)] * with_tokens
        rows.append([str(number), f"{vector.norm:.3f}", f"{vector.smallest:.3f}", f"{vector.largest:.3f}", *cosine, *tokens])
    print_table(titles, rows)


def _usual_norm(encoder: EncoderReport) -> str:
    """Describe the norms of the vocabulary; empty if the loaded checkpoint has no text encoder of this width."""
    if encoder.vocabulary_norm is None or encoder.vocabulary_spread is None:
        return ""
    return f", norm of the vocabulary {encoder.vocabulary_norm:.3f} ± {encoder.vocabulary_spread:.3f}"


def _overall(encoder: EncoderReport) -> str:
    return "" if encoder.reference_cosine is None else f", similarity {encoder.reference_cosine:.3f} overall"
