"""`train-embedding queue`: several training jobs one after the other."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from train_embedding.cli import train
from train_embedding.cli.common import (
    Commands,
    add_command,
    add_host_options,
    call_on_stop_signals,
    count,
    open_services,
    print_json,
    print_table,
    run_in_main_process,
    with_option_names,
)
from train_embedding.errors import TrainingFailed
from train_embedding.messages import msg, plural

if TYPE_CHECKING:
    from train_embedding.services import Services
    from train_embedding.services.training import QueueContents, QueueEntry

_NEXT_STEP = "`train-embedding queue run` starts it; a running web app does so by itself."


def add_to(commands: Commands) -> None:
    """Add the command with its subcommands."""
    what = "Train several embeddings one after the other: add, list, move, remove and run the jobs of the queue."
    queue = commands.add_parser("queue", help="train several embeddings one after the other", description=what)
    verbs = queue.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_add(verbs)
    _add_list(verbs)
    _add_run(verbs)
    _add_move(verbs)
    _add_remove(verbs)
    _add_restore(verbs)
    _add_retry(verbs)
    _add_pause(verbs)
    _add_continue(verbs)
    _add_clear(verbs)


def _add_add(verbs: Commands) -> None:
    what = (
        "Check a training job, and add it to the end of the queue. It takes the arguments of `train-embedding train`. A running "
        "web app with the same data folder starts it; without one, use `train-embedding queue run`."
    )
    parser = add_command(verbs, "add", add, "add a training job to the end of the queue", what)
    train.add_training_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print the job as JSON")
    add_host_options(parser)
    train.add_training_options(parser)


def add(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    services = open_services(arguments)
    entry = services.queue.add(train.spec_of(arguments, services))
    if arguments.json:
        print_json(entry)
        return 0
    for note in entry.notes:
        print(with_option_names(note), file=sys.stderr)
    waiting = len(services.queue.contents().unfinished) - 1
    print(f"Added job {entry.id} ({entry.spec.embedding}), after {count(waiting, 'other')}. {_NEXT_STEP}")
    return 0


def _add_list(verbs: Commands) -> None:
    what = "List the jobs of the queue in their order, and why a job failed or is still waiting."
    parser = add_command(verbs, "list", list_queue, "list the jobs of the queue", what)
    parser.add_argument("--removed", action="store_true", help="list the removed jobs")
    parser.add_argument("--json", action="store_true", help="print the queue as JSON")
    add_host_options(parser)


def list_queue(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    queue = open_services(arguments).queue
    contents = queue.contents()
    entries = queue.removed() if arguments.removed else list(contents.entries)
    if arguments.json:
        print_json(entries if arguments.removed else contents)
        return 0
    if contents.paused and not arguments.removed:
        print(" ".join(filter(None, ("The queue is paused.", contents.why_paused))))
    if entries:
        _print_entries(entries)
    else:
        print("No jobs were removed." if arguments.removed else "The queue is empty.")
    return 0


def _add_run(verbs: Commands) -> None:
    what = (
        "Run the jobs of the queue one after the other, then exit. This ends a pause. A job whose program was killed is resumed "
        "first. A job that fails does not stop the others. Ctrl-C stops the current job after its current step and keeps its "
        "result; the next `train-embedding queue run` resumes it."
    )
    parser = add_command(verbs, "run", run, "run the jobs of the queue", what)
    add_host_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    return run_in_main_process(arguments, _work_off)


def _work_off(services: Services) -> int:
    queue, begun = services.queue, 0
    before = {entry.id for entry in queue.contents().entries if entry.status == "failed"}
    with call_on_stop_signals(queue.close), queue.work():
        while (state := queue.begin_next()) is not None:
            begun += 1
            running = queue.contents().running
            print(f"Job {running.id if running else begun}: {state.embedding}", flush=True)
            state = train.follow(services.runs, state, queue.close)
            queue.finish()
            for line in train.report(state):
                print(line, flush=True)
    return _report(queue.contents(), before, begun)


def _report(contents: QueueContents, failed_before: set[str], begun: int) -> int:
    """Print what has failed and what still waits. Raises TrainingFailed if a job failed."""
    if not begun and not contents.unfinished:
        print("No jobs are waiting in the queue.")
    for entry in contents.unfinished:
        reason = " ".join(filter(None, (entry.error, entry.hint)))
        print(f"Job {entry.id} ({entry.spec.embedding}) is waiting. {reason}".rstrip())
    failed = [entry for entry in contents.entries if entry.status == "failed" and entry.id not in failed_before]
    for entry in failed:
        print(f"Job {entry.id} ({entry.spec.embedding}) failed: {entry.error} {entry.hint}".rstrip())
    if failed:
        raise TrainingFailed(
            plural("{count} job of the queue failed.", "{count} jobs of the queue failed.", len(failed)),
            msg("Use `train-embedding queue retry` to try again."),
        )
    return 0


def _add_move(verbs: Commands) -> None:
    what = "Move a waiting job to another place in the queue."
    parser = add_command(verbs, "move", move, "change the order of the queue", what)
    _add_id(parser)
    parser.add_argument("position", metavar="POSITION", type=int, help="place among the waiting jobs; 1 is the next")
    add_host_options(parser)


def move(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    queue = open_services(arguments).queue
    entry = queue.move(arguments.id, arguments.position)
    print(f"Moved job {entry.id} ({entry.spec.embedding}) to position {queue.position(entry.id)}.")
    return 0


def _add_remove(verbs: Commands) -> None:
    what = (
        "Remove jobs from the queue. Their runs, if they had any, stay. `train-embedding queue restore` puts them back. The "
        "current job cannot be removed."
    )
    parser = add_command(verbs, "remove", remove, "remove jobs from the queue", what)
    _add_ids(parser)
    add_host_options(parser)


def remove(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    queue = open_services(arguments).queue
    for entry_id in arguments.ids:
        print(f"Removed job {entry_id} ({queue.remove(entry_id).spec.embedding}).")
    return 0


def _add_restore(verbs: Commands) -> None:
    what = "Put removed jobs at the end of the queue. `train-embedding queue list --removed` lists them."
    parser = add_command(verbs, "restore", restore, "restore removed jobs", what)
    _add_ids(parser)
    add_host_options(parser)


def restore(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    queue = open_services(arguments).queue
    for entry_id in arguments.ids:
        print(f"Restored job {entry_id} ({queue.restore(entry_id).spec.embedding}).")
    return 0


def _add_retry(verbs: Commands) -> None:
    what = "Put failed or stopped jobs at the end of the queue. A job that had started is resumed."
    parser = add_command(verbs, "retry", retry, "retry failed jobs", what)
    _add_ids(parser)
    add_host_options(parser)


def retry(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    queue = open_services(arguments).queue
    for entry_id in arguments.ids:
        print(f"Job {entry_id} ({queue.retry(entry_id).spec.embedding}) will be tried again.")
    return 0


def _add_pause(verbs: Commands) -> None:
    what = "Start no further job. The current one continues to its end, also in another program."
    add_host_options(add_command(verbs, "pause", pause, "pause the queue after the current job", what))


def pause(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    running = open_services(arguments).queue.pause().running
    print("The queue is paused." if running is None else f"The queue will pause after the training of {running.spec.embedding}.")
    return 0


def _add_continue(verbs: Commands) -> None:
    what = "Continue the queue after a pause. A running web app with the same data folder then starts the waiting jobs."
    add_host_options(add_command(verbs, "continue", proceed, "continue the queue after a pause", what))


def proceed(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    open_services(arguments).queue.proceed()
    print("The queue continues.")
    return 0


def _add_clear(verbs: Commands) -> None:
    what = "Remove finished, stopped and failed jobs from the queue. Their runs stay."
    add_host_options(add_command(verbs, "clear", clear, "remove the jobs that have ended", what))


def clear(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    print(f"Removed {count(open_services(arguments).queue.clear_ended(), 'job')}.")
    return 0


def _add_id(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="JOB", help="number of the job")


def _add_ids(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ids", nargs="+", metavar="JOB", help="numbers of the jobs")


def _print_entries(entries: list[QueueEntry]) -> None:
    rows = [
        (
            entry.id,
            entry.spec.embedding,
            entry.status,
            entry.spec.preset,
            entry.run,
            " ".join(filter(None, (entry.error, entry.hint))),
        )
        for entry in entries
    ]
    print_table(("job", "embedding", "status", "preset", "run", "reason"), rows)
