"""`train-embedding runs steps`, `runs compare` and `runs use-step`, and `train-embedding compare` for embeddings."""

from __future__ import annotations

import argparse
import re
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from train_embedding.cli.common import (
    Commands,
    add_command,
    add_host_options,
    call_on_stop_signals,
    open_services,
    print_json,
    print_table,
)
from train_embedding.errors import Conflict, InvalidInput, TrainingFailed
from train_embedding.messages import msg
from train_embedding.services.typed_paths import typed_path

if TYPE_CHECKING:
    from train_embedding.services.comparing import Comparing, Comparison, GridOptions

TICK = 0.2
"Seconds between two looks at the progress."


def add_to_runs(verbs: Commands) -> None:
    """Add the commands about the steps of a run."""
    _add_steps(verbs)
    _add_compare(verbs)
    _add_use_step(verbs)


def add_compare_embeddings(commands: Commands) -> None:
    """Add the command that compares embeddings."""
    what = "Generate an image for each embedding or run and each prompt with one seed, and write them as one grid."
    parser = add_command(commands, "compare", compare_embeddings, "compare embeddings in a grid of images", what)
    parser.add_argument("names", nargs="*", metavar="NAME", help="embeddings, the rows of the grid")
    parser.add_argument(
        "--runs", nargs="+", default=[], metavar="RUN", help="training runs, more rows: the step that each has saved"
    )
    _add_options(parser, "[name]")
    add_host_options(parser)


def _add_steps(verbs: Commands) -> None:
    what = (
        "List the steps of a training run whose vectors were kept: the start, evaluated steps, steps with previews or snapshots, "
        "the last step and the saved one."
    )
    parser = add_command(verbs, "steps", list_steps, "list the steps of a run that can be compared and used", what)
    _add_run(parser)
    parser.add_argument("--json", action="store_true", help="print the steps as JSON")
    add_host_options(parser)


def list_steps(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    steps = open_services(arguments).comparing.steps(arguments.id)
    if arguments.json:
        print_json(steps)
    elif steps:
        rows = [
            (str(step.step), "-" if step.loss is None else f"{step.loss:.4f}", "in use" if step.in_use else "") for step in steps
        ]
        print_table(("step", "loss", ""), rows)
    else:
        print("No vectors of this run were kept.")
    return 0


def _add_compare(verbs: Commands) -> None:
    what = (
        "Generate an image for each kept step and prompt with one seed, and write them as one grid. Existing images are kept, so "
        "an interrupted grid continues. By default with the prompts and settings of the run's previews."
    )
    parser = add_command(verbs, "compare", compare, "compare the steps of a run in a grid of images", what)
    _add_run(parser)
    parser.add_argument("--steps", metavar="STEPS", default="", help='steps, such as "0,60,120" (default: 8, evenly spaced)')
    _add_options(parser, "those of the previews")
    add_host_options(parser)


def compare(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from train_embedding.services.comparing import parse_steps

    comparing, steps = open_services(arguments).comparing, parse_steps(arguments.steps)
    _check_free(arguments)
    options = _options(arguments, comparing.default_options(arguments.id))
    return _draw(comparing, arguments, lambda: comparing.start(arguments.id, options, steps))


def compare_embeddings(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from train_embedding.services.comparing import GridOptions

    comparing = open_services(arguments).comparing
    _check_free(arguments)
    options = _options(arguments, GridOptions())
    return _draw(comparing, arguments, lambda: comparing.start_embeddings(arguments.names, options, arguments.runs))


def _add_use_step(verbs: Commands) -> None:
    what = "Make the vectors of a step the embedding. The file that it replaces goes to the trash."
    parser = add_command(verbs, "use-step", use_step, "make a step of a run the embedding", what)
    _add_run(parser)
    parser.add_argument(
        "step", metavar="STEP", type=int, nargs="?", help="a step of `train-embedding runs steps`; 0 is the start"
    )
    parser.add_argument("--undo", metavar="ITEM", help="restore the file that a step replaced from the trash instead")
    add_host_options(parser)


def use_step(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    if (arguments.step is None) == (arguments.undo is None):
        raise InvalidInput(msg("Give either a step or {option}.", option="--undo"))
    comparing = open_services(arguments).comparing
    if arguments.undo is not None:
        print(f"Restored {comparing.undo_use(arguments.id, arguments.undo).file}")
        return 0
    used = comparing.use_step(arguments.id, arguments.step)
    print(f"Saved step {used.step} to {used.entry.file}")
    if used.trash_id:
        print(f"The previous file is in the trash: train-embedding runs use-step {arguments.id} --undo {used.trash_id}")
    return 0


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="RUN", help="name of the folder of the run")


def _add_options(parser: argparse.ArgumentParser, default_prompts: str) -> None:
    parser.add_argument(
        "--prompts", nargs="+", metavar="PROMPT", help=f"prompts, the columns; [name] is the trigger (default: {default_prompts})"
    )
    parser.add_argument("--output", type=typed_path, required=True, metavar="FILE", help="the image to write, a PNG file")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE if it exists")
    parser.add_argument("--negative-prompt", metavar="PROMPT", help="negative prompt of all images")
    parser.add_argument("--seed", type=int, metavar="N", help="seed of all images")
    parser.add_argument("--size", type=_size, metavar="WxH", help="size of each image, such as 512x768 or 512")
    parser.add_argument("--sampling-steps", type=int, metavar="N", help="sampling steps of each image")
    parser.add_argument("--guidance", type=float, metavar="SCALE", help="CFG scale")
    parser.add_argument("--json", action="store_true", help="print the grid as JSON")


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,5})(?:[x×](\d{1,5}))?", text.strip().lower())
    if match is None:
        raise argparse.ArgumentTypeError(f'"{text}" is not a size such as 512x768')
    return int(match[1]), int(match[2] or match[1])


def _options(arguments: argparse.Namespace, default: GridOptions) -> GridOptions:
    """Return the options that were given, on top of the default ones."""
    given: dict[str, Any] = {name: getattr(arguments, name) for name in ("negative_prompt", "seed", "sampling_steps", "guidance")}
    given["prompts"] = None if arguments.prompts is None else tuple(arguments.prompts)
    given["width"], given["height"] = arguments.size or (None, None)
    return replace(default, **{name: value for name, value in given.items() if value is not None})


def _check_free(arguments: argparse.Namespace) -> None:
    """Raise an error before anything is drawn if the output cannot be written or would replace a file."""
    file: Path = arguments.output
    if file.suffix.lower() != ".png":
        raise InvalidInput(msg('"{name}" is not the name of a PNG file.', name=file.name), msg("Use a name that ends with .png."))
    if file.exists() and not arguments.overwrite:
        raise Conflict(msg('"{name}" already exists.', name=file), msg("Choose another file, or use --overwrite."))


def _draw(comparing: Comparing, arguments: argparse.Namespace, start: Callable[[], Comparison]) -> int:
    """Draw a grid to its end, and write it as one image."""
    from tqdm import tqdm

    grid = start()
    for note in grid.notes:
        print(note, file=sys.stderr)
    bar: Any = tqdm(total=grid.total, unit="image", file=sys.stderr, mininterval=0.5)
    stopped = threading.Event()  # the handler of a signal must not wait for a lock that this thread may hold
    with bar, call_on_stop_signals(stopped.set):
        while grid.active:
            if stopped.is_set():
                comparing.stop(grid.id)
            grid = comparing.wait(grid.id, TICK)
            bar.update(grid.done - bar.n)
    if grid.status == "finished":
        comparing.save_sheet(grid.id, arguments.output)
    if arguments.json:
        print_json(grid)
    else:
        _report(grid, arguments.output)
    if grid.error:
        raise TrainingFailed(grid.error, grid.hint)
    return 0


def _report(grid: Comparison, file: Path) -> None:
    if grid.status == "stopped":
        print(f"Stopped after {grid.done} of {grid.total} images. The same command generates the rest.")
    elif grid.status == "finished":
        print(f"Saved to {file}")
