"""`train-embedding runs`: list, show, resume, compare, note, delete and restore training runs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from train_embedding.cli import comparing, resume
from train_embedding.cli.common import (
    OPTION_NAMES,
    Commands,
    add_command,
    add_host_options,
    open_services,
    print_json,
    print_table,
)

if TYPE_CHECKING:
    from train_embedding.services.training import RunEntry


def add_to(commands: Commands) -> None:
    """Add the command with its subcommands."""
    what = "List, show, resume, compare, note, delete and restore training runs."
    runs = commands.add_parser("runs", help="list and manage training runs", description=what)
    verbs = runs.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_list(verbs)
    _add_show(verbs)
    resume.add_to(verbs)
    comparing.add_to_runs(verbs)
    _add_note(verbs)
    _add_delete(verbs)
    _add_restore(verbs)


def _add_list(verbs: Commands) -> None:
    what = (
        "List training runs, the newest first. With words, list the runs in which each of them occurs: in the name, the dataset, "
        "the checkpoint, the changed settings, the result or your note."
    )
    parser = add_command(verbs, "list", list_runs, "list training runs", what)
    parser.add_argument("words", nargs="*", metavar="WORD", help="words to search for")
    parser.add_argument("--deleted", action="store_true", help="list the runs in the trash")
    parser.add_argument("--json", action="store_true", help="print the runs as JSON")
    add_host_options(parser)


def list_runs(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    runs = open_services(arguments).runs
    words = " ".join(arguments.words)
    entries = runs.trashed() if arguments.deleted else runs.history(words)
    if arguments.deleted:
        entries = [entry for entry in entries if entry.matches(words.casefold().split())]
    if arguments.json:
        print_json(entries)
    elif entries:
        _print_runs(entries)
    else:
        print("No run matches." if words else "There are no runs.")
    return 0


def _add_show(verbs: Commands) -> None:
    what = "Show a training run: what it was trained on, the settings that differ from its preset, its result and your note."
    parser = add_command(verbs, "show", show, "show a training run", what)
    _add_run(parser)
    parser.add_argument("--json", action="store_true", help="print the run as JSON")
    add_host_options(parser)


def show(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    entry = open_services(arguments).runs.entry(arguments.id)
    if arguments.json:
        print_json(entry)
        return 0
    state = entry.state
    facts = {
        "run": state.id,
        "embedding": state.embedding,
        "status": f"{state.status}, step {state.step} of {state.steps}",
        "started": entry.started.strftime("%Y-%m-%d %H:%M") if entry.started else "",
        "seconds": f"{state.seconds:.0f}",
        "samples": str(entry.samples),
        "checkpoint": state.checkpoint,
        "dataset": state.spec.dataset,
        "preset": state.spec.preset,
        "settings": " ".join(f"{OPTION_NAMES[name]} {_written(value)}" for name, value in entry.changed.items()),
        "best step": "" if state.best_step is None else str(state.best_step),
        "saved to": str(state.result or ""),
        "newest preview": str(entry.preview or ""),
        "note": entry.note,
        "error": " ".join(filter(None, (state.error, state.hint))),
    }
    for title, value in facts.items():
        if value:
            print(f"{title}: {value}")
    for note in state.notes:
        print(note)
    return 0


def _add_note(verbs: Commands) -> None:
    what = "Write a note about a training run, which lists show and searches find. Without a text, the note is removed."
    parser = add_command(verbs, "note", note, "write a note about a training run", what)
    _add_run(parser)
    parser.add_argument("text", nargs="?", default="", metavar="TEXT", help="the note")
    add_host_options(parser)


def note(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    entry = open_services(arguments).runs.set_note(arguments.id, arguments.text)
    print(f"Noted {entry.state.id}." if entry.note else f"Removed the note of {entry.state.id}.")
    return 0


def _add_delete(verbs: Commands) -> None:
    what = (
        "Move training runs with their snapshots, previews and logs to the trash. The embeddings stay as they are. "
        "`train-embedding runs restore` restores them, and `train-embedding trash empty` deletes them permanently."
    )
    parser = add_command(verbs, "delete", delete, "move training runs to the trash", what)
    parser.add_argument("ids", nargs="+", metavar="RUN", help="names of the folders of the runs")
    add_host_options(parser)


def delete(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    runs = open_services(arguments).runs
    for run_id in arguments.ids:
        print(f"Moved {run_id} to the trash as {runs.delete(run_id)}.")
    return 0


def _add_restore(verbs: Commands) -> None:
    what = "Move training runs back from the trash. `train-embedding runs list --deleted` lists them."
    parser = add_command(verbs, "restore", restore, "restore training runs from the trash", what)
    parser.add_argument("ids", nargs="+", metavar="RUN", help="names of the folders of the runs in the trash")
    add_host_options(parser)


def restore(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    runs = open_services(arguments).runs
    for trash_id in arguments.ids:
        print(f"Restored {runs.restore(trash_id).state.id}.")
    return 0


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="RUN", help="name of the folder of the run")


def _print_runs(entries: Sequence[RunEntry]) -> None:
    rows = [
        (
            entry.state.folder.name,
            entry.state.embedding,
            entry.state.status,
            f"{entry.state.step} of {entry.state.steps}",
            str(entry.samples),
            f"{entry.state.seconds:.0f}",
            entry.state.spec.preset,
            entry.note.partition("\n")[0][:40],
        )
        for entry in entries
    ]
    print_table(("run", "embedding", "status", "step", "samples", "seconds", "preset", "note"), rows)


def _written(value: object) -> str:
    """Return the value of an option as it would be typed."""
    text = " ".join(map(str, cast("tuple[object, ...]", value))) if isinstance(value, tuple) else str(value)
    return f'"{text}"' if " " in text else text
