"""`train-embedding train`: train an embedding."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any

from train_embedding.cli.common import (
    ARGUMENTS,
    OPTION_NAMES,
    Commands,
    add_command,
    add_host_options,
    call_on_stop_signals,
    count,
    print_json,
    run_in_main_process,
    with_option_names,
)
from train_embedding.engine.config import OPTIONS, Option, TrainingSpec
from train_embedding.errors import InvalidOption, NotFound, TrainingFailed
from train_embedding.messages import msg, verbatim
from train_embedding.services.kinds import WITH_IMAGES, kind_values

if TYPE_CHECKING:
    from train_embedding.services import Services
    from train_embedding.services.training import Runs, RunState

TICK = 0.2
"Seconds between updates of the progress bar."


def add_to(commands: Commands) -> None:
    """Add the command, with an option for each option of a training run; defaults come from the preset."""
    what = "Train an embedding on a dataset, which is a folder of images. Ctrl-C stops the run and keeps the result."
    parser = add_command(commands, "train", run, "train an embedding", what)
    add_training_arguments(parser)
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="check everything, print how much time and memory the run will need, and do not train",
    )
    parser.add_argument("--json", action="store_true", help="print the final state of the run, or the estimate, as JSON")
    add_host_options(parser)
    add_training_options(parser)


def add_training_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name the embedding and the dataset."""
    parser.usage = "%(prog)s [OPTIONS] NAME [FOLDER]"
    parser.add_argument(
        "embedding", metavar=ARGUMENTS["embedding"], help="an existing embedding; `train-embedding create` creates one"
    )
    parser.add_argument(
        "dataset",
        metavar=ARGUMENTS["dataset"],
        nargs="?",
        default="",
        help="folder of training images; not needed with --teacher-prompt",
    )


def add_training_options(parser: argparse.ArgumentParser) -> None:
    """Add an option for each option of a training run that is not a positional argument."""
    what = "what the images show: sets the caption lines and preview prompts; a negative embedding learns from bad images"
    parser.add_argument("--kind", choices=WITH_IMAGES, help=what)
    options = [option for option in OPTIONS if option.name not in ARGUMENTS]
    groups = {name: parser.add_argument_group(name) for name in dict.fromkeys(option.group for option in options)}
    for option in options:
        groups[option.group].add_argument(option.flag, help=_help(option), default=None, **_syntax(option))


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""

    def train(services: Services) -> int:
        if arguments.dry_run:
            return estimate(services, spec_of(arguments, services), arguments.json)
        return finish(services.runs, services.runs.start(spec_of(arguments, services)), arguments.json)

    return run_in_main_process(arguments, train)


def finish(runs: Runs, state: RunState, as_json: bool) -> int:
    """Print the first notes of a run, follow it to its end and print its result.

    Args:
        runs: The service that the run was started with.
        state: The run as it was started.
        as_json: Whether to print its final state as JSON.

    Raises:
        TrainingFailed: The run failed.
    """
    printed = state.notes
    for note in printed:
        print(with_option_names(note), file=sys.stderr)
    state = follow(runs, state)
    if as_json:
        print_json(state)
    else:
        for line in report(state, printed):
            print(line)
    if state.error:
        raise TrainingFailed(state.error, state.hint)
    return 0


def estimate(services: Services, spec: TrainingSpec, as_json: bool) -> int:
    """Check a run, and print how much time and memory it will need.

    Args:
        services: Would train.
        spec: The run.
        as_json: Whether to print JSON.

    Raises:
        TrainEmbeddingError: The run cannot be started.
    """
    from train_embedding.services.training import describe_estimate

    spec, notes = services.runs.check(spec)
    for note in notes:
        print(with_option_names(note), file=sys.stderr)
    found = services.estimates.estimate(spec)
    if as_json:
        print_json(found)
    else:
        for line in describe_estimate(found):
            print(with_option_names(line))
    return 0


def spec_of(arguments: argparse.Namespace, services: Services) -> TrainingSpec:
    """Build the spec of the options that were given, on top of the preset's, which may be one of the user's.

    Raises:
        InvalidSpec: A value is not allowed, or there is no such preset.
        NotFound: There is no caption template of that name.
    """
    given = given_options(arguments, services)
    try:
        return TrainingSpec.from_json(services.presets.resolved(given))
    except InvalidOption as problem:
        raise problem.shown_as(verbatim(OPTION_NAMES[problem.option])) from problem


def given_options(arguments: argparse.Namespace, services: Services) -> dict[str, Any]:
    """Return the options of a training run that were given, on top of those of the kind.

    Raises:
        NotFound: There is no caption template of that name.
    """
    values = {option.name: getattr(arguments, option.name, None) for option in OPTIONS}
    given = {name: value for name, value in values.items() if value is not None}
    if "template" in given:
        given["template"] = list(caption_lines(given["template"], services))
    kind = getattr(arguments, "kind", None)
    return {**(kind_values(kind) if kind else {}), **given}


def _help(option: Option) -> str:
    has_default = option.kind != "lines" and option.default not in ("", 0, False)
    default = "on" if option.kind == "flag" else option.default
    choices = f" {', '.join(option.choices)}, or one of yours." if option.name == "preset" else ""
    return (option.help + choices + (f" (default: {default})" if has_default else "")).replace("%", "%%")


def _syntax(option: Option) -> dict[str, Any]:
    """Return the arguments of `add_argument` for the kind of an option."""
    if option.name == "preset":
        return {"metavar": "NAME"}
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
    """Replace names of caption templates by their lines.

    Raises:
        NotFound: There is no caption template of that name.
    """
    for text in texts:
        if "[" in text:
            yield text
            continue
        templates = services.datasets.templates()
        if text not in templates:
            known = ", ".join(sorted(templates))
            raise NotFound(
                msg('There is no caption template "{name}".', name=text),
                msg("Use one of {known}, or a caption that contains {trigger}.", known=known, trigger="[name]"),
            )
        yield from templates[text]


def follow(runs: Runs, state: RunState, stop: Callable[[], object] | None = None) -> RunState:
    """Show a progress bar until the run has ended.

    Args:
        runs: The service that the run was started with.
        state: The run as it was started.
        stop: What Ctrl-C does; by default, the run is stopped after the current step.
    """
    from tqdm import tqdm

    bar: Any = tqdm(total=state.steps, unit="step", desc=state.embedding, file=sys.stderr, mininterval=0.5)
    with bar, call_on_stop_signals(stop or (lambda: runs.stop(state.id))):
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
    """Return lines that describe a run that has ended, without notes that were printed before."""
    if not state.error:
        verb = "Finished" if state.status == "finished" else "Stopped"
        minutes, seconds = divmod(round(state.seconds), 60)
        yield f"{verb} {state.embedding}: {count(state.step, 'step')} in {minutes}:{seconds:02d}."
    if state.result:
        yield f"Saved to {state.result}"
    yield from (with_option_names(note) for note in state.notes if note not in printed)
