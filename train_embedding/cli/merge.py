"""`train-embedding merge`: merge embeddings with a formula."""

from __future__ import annotations

import argparse
import sys

from train_embedding.cli.common import Commands, add_host_options, open_services, print_json
from train_embedding.cli.inspect import print_report
from train_embedding.errors import InvalidExpression
from train_embedding.services import Services
from train_embedding.services.combining import PREVIEW_PROMPT, UNNAMED, Combined
from train_embedding.services.image_files import save_image
from train_embedding.services.json_values import to_json
from train_embedding.services.typed_paths import typed_path

EXAMPLES = """\
examples:
  my-cat + 0.5 * "red"           embeddings bare or in 'single quotes', words in "double quotes"
  king - "man" + "woman"         operators need a space on both sides
  'my cat' & style[0:2]          vectors of the first, then the first two vectors of the second
  norm(average(a, b), like a)    other functions: concat, drop_zeros, reduce(a, 4), spread(a, 4)
"""


def add_to(commands: Commands) -> None:
    """Add the command."""
    what = "Compute a formula over embeddings and words, and save the result as an embedding."
    verbatim = argparse.RawDescriptionHelpFormatter
    parser = commands.add_parser(
        "merge", help="merge embeddings with a formula", description=what, epilog=EXAMPLES, formatter_class=verbatim
    )
    parser.add_argument("expression", metavar="FORMULA", help="the formula; see the examples below")
    parser.add_argument("--name", metavar="NAME", help="name of the new embedding; without it, the result is shown but not saved")
    parser.add_argument("--overwrite", action="store_true", help="replace an embedding of this name; it goes to the trash")
    parser.add_argument("--preview", type=typed_path, metavar="FILE", help="generate an image with the result, and save it here")
    parser.add_argument(
        "--prompt",
        default=PREVIEW_PROMPT,
        metavar="TEXT",
        help="prompt of that image; [name] stands for the result (default: [name])",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    add_host_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    services = open_services(arguments)
    if arguments.name:
        services.combining.check_free(arguments.name, arguments.overwrite)
    try:
        combined = services.combining.evaluate(arguments.expression, arguments.name or UNNAMED)
    except InvalidExpression as error:
        print(error.pointer, file=sys.stderr)
        raise
    if arguments.preview:
        save_image(services.combining.draw(combined.embedding, arguments.prompt), arguments.preview)
    _print_result(services, combined, arguments)
    return 0


def _print_result(services: Services, combined: Combined, arguments: argparse.Namespace) -> None:
    report = services.inspection.report_of(combined.embedding, top=5)
    saved = services.combining.keep(combined, arguments.overwrite) if arguments.name else None
    notes = combined.notes if saved is None else saved.notes
    if arguments.json:
        print_json({**to_json(report), "notes": notes, "entry": None if saved is None else saved.entry})
        return
    print_report(report)
    for note in notes:
        print(note)
    print("Not saved. To save the result, add --name." if saved is None else f"Saved {saved.entry.name}: {saved.entry.file}")
