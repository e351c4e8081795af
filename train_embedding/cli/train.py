"""`train-embedding train`: trains an embedding on a dataset."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

from train_embedding.cli.common import (
    Commands,
    add_command,
    add_host_options,
    call_on_stop_signals,
    count,
    print_json,
    run_in_main_process,
)
from train_embedding.engine.config import OPTIONS, Option, TrainingSpec
from train_embedding.errors import InvalidOption, NotFound, TrainingFailed
from train_embedding.messages import verbatim

if TYPE_CHECKING:
    from train_embedding.services import Services
    from train_embedding.services.training import Runs, RunState

TICK = 0.2
"Seconds between two looks at the run."
_ARGUMENTS = ("embedding", "dataset")
"Options of a run that are given by their place."


def add_to(commands: Commands) -> None:
    """Add the command with one option for each option of a training run; what is not given comes from the preset."""
    what = "Trains an embedding. Ctrl-C ends the run and keeps the result."
    parser = add_command(commands, "train", run, "train an embedding", what)
    parser.add_argument("embedding", metavar="NAME", help="an existing embedding (create one with train-embedding create)")
    parser.add_argument("dataset", metavar="FOLDER", nargs="?", default="", help="folder of images, or --teacher-prompt")
    for option in OPTIONS:
        if option.name not in _ARGUMENTS:
            parser.add_argument(option.flag, help=_help(option), default=None, **_syntax(option))
    parser.add_argument("--json", action="store_true", help="print the run's final state as JSON")
    add_host_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""

    def train(services: Services) -> int:
        return finish(services.runs, services.runs.start(spec_of(arguments, services)), arguments.json)

    return run_in_main_process(arguments, train)


def finish(runs: Runs, state: RunState, as_json: bool) -> int:
    """Print what is known before the first step, follow a run to its end and print its result.

    Args:
        runs: The service that the run was started with.
        state: The run as it was started.
        as_json: Whether to print its final state as JSON.

    Raises:
        TrainingFailed: The run failed.
    """
    printed = state.notes
    for note in printed:
        print(note, file=sys.stderr)
    state = follow(runs, state)
    if as_json:
        print_json(state)
    else:
        for line in report(state, printed):
            print(line)
    if state.error:
        raise TrainingFailed(state.error, state.hint)
    return 0


def spec_of(arguments: argparse.Namespace, services: Services) -> TrainingSpec:
    """Build the spec of the options that were given, on top of the preset's.

    Raises:
        InvalidSpec: A value is not allowed.
        NotFound: There is no caption template of that name.
    """
    values = {option.name: getattr(arguments, option.name) for option in OPTIONS}
    given = {name: value for name, value in values.items() if value is not None}
    if "template" in given:
        given["template"] = list(caption_lines(given["template"], services))
    try:
        return TrainingSpec.from_json(given)
    except InvalidOption as problem:
        flags = {option.name: option.flag for option in OPTIONS if option.name not in _ARGUMENTS}
        raise problem.shown_as(verbatim(flags.get(problem.option, problem.option))) from problem


def _help(option: Option) -> str:
    has_default = option.kind != "lines" and option.default not in ("", 0, False)
    return (option.help + (f" (default: {option.default})" if has_default else "")).replace("%", "%%")


def _syntax(option: Option) -> dict[str, Any]:
    """Return what argparse is told about the kind of an option."""
    if option.kind == "choice":
        return {"choices": option.choices}
    if option.kind == "flag":
        return {"action": argparse.BooleanOptionalAction}
    if option.kind == "lines":
        return {"action": "append", "metavar": option.unit.upper() or "TEXT"}
    if option.kind == "text":
        return {"metavar": option.unit.upper() or "TEXT"}
    return {"type": int if option.kind == "integer" else float, "metavar": option.unit.upper() or "N"}


def caption_lines(texts: Iterable[str], services: Services) -> Iterable[str]:
    """Replace names of caption templates by their lines. Raises NotFound for a name that no template has."""
    for text in texts:
        if "[" in text:
            yield text
            continue
        templates = services.datasets.templates()
        if text not in templates:
            known = ", ".join(sorted(templates))
            raise NotFound(f'There is no caption template "{text}".', f"There are {known}; a line contains [name].")
        yield from templates[text]


def follow(runs: Runs, state: RunState) -> RunState:
    """Show a progress bar until the run has ended; Ctrl-C stops the run after its current step."""
    from tqdm import tqdm

    bar: Any = tqdm(total=state.steps, unit="step", desc=state.embedding, file=sys.stderr, mininterval=0.5)
    with bar, call_on_stop_signals(lambda: runs.stop(state.id)):
        while state.active:
            state = runs.wait(state.id, TICK)
            if state.status == "stopping":
                bar.set_description("stopping", refresh=False)
            bar.total = state.steps
            if state.step > bar.n:
                bar.set_postfix(loss=f"{state.loss:.4f}", refresh=False)
                bar.update(state.step - bar.n)
    return runs.wait(state.id)  # until its thread has written everything


def report(state: RunState, printed: Collection[str] = ()) -> Iterable[str]:
    """Describe a run that has ended, without the notes that were printed before."""
    if not state.error:
        verb = "Trained" if state.status == "finished" else "Stopped"
        yield f"{verb} {state.embedding} after {count(state.step, 'step')} in {state.seconds:.0f} s."
    if state.result:
        yield f"Written to {state.result}"
    yield from (note for note in state.notes if note not in printed)
