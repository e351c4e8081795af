"""`train-embedding study`: many training runs from one file, on this machine or on a cluster."""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from train_embedding.cli.common import (
    Commands,
    add_command,
    call_on_stop_signals,
    print_json,
    print_table,
    with_option_names,
)
from train_embedding.cli.study_progress import TITLES, printable, row, shown_progress
from train_embedding.errors import InvalidInput, TrainingFailed
from train_embedding.messages import msg, plural
from train_embedding.services.typed_paths import typed_path, typed_text

if TYPE_CHECKING:
    from train_embedding.hosts.standalone import CheckpointFile, StandaloneHost
    from train_embedding.services.studies import Given, Results, RunProgress, Study, Workers

INTERRUPTED = 130
"Exit code after Ctrl-C."


def add_to(commands: Commands) -> None:
    """Add the command."""
    what = (
        "Train many embeddings from one file: every dataset with every init text, recipe and seed. The same command continues an "
        "interrupted study. Without --address, the runs are carried out one after the other in this process; with it, by Ray on "
        "a cluster. The results, with report.html, are in one folder. Ctrl-C ends the current runs after their current steps."
    )
    parser = add_command(commands, "study", run, "train many embeddings from one file, also on a cluster", what)
    parser.usage = "%(prog)s [OPTIONS] (STUDY | --folder FOLDER)"
    parser.add_argument("study", metavar="STUDY", nargs="?", type=typed_path, help="a .yaml or .csv file")
    parser.add_argument(
        "--folder",
        type=typed_place,
        metavar="FOLDER",
        help="in place of a file: each subfolder is the dataset of an embedding; a path or an address such as s3://…",
    )
    parser.add_argument(
        "--results",
        type=typed_place,
        metavar="FOLDER",
        help="folder or address of the results (default: NAME-results, beside the study)",
    )
    parser.add_argument(
        "--checkpoint", type=typed_place, metavar="FILE",
        help="checkpoint file or diffusers folder, also at an address, in place of the study's (default: the demo checkpoint)",
    )  # fmt: skip
    parser.add_argument("--init-text", default="", metavar="TEXT", help="init text of the runs that have none")
    parser.add_argument("--vectors", default="auto", metavar="N", help='number of vectors, or "auto" (default: auto)')
    parser.add_argument(
        "--preset", action="append", default=[], metavar="NAME", help="a recipe, if the study has none; repeatable"
    )
    parser.add_argument(
        "--seed", action="append", default=[], type=int, metavar="N", help="a seed, if the study has none; repeatable"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="OPTION=VALUE",
        help="an option of all runs, such as steps=100, in place of the study's; repeatable",
    )  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="check the study, list its runs, and do not train")
    parser.add_argument("--report", action="store_true", help="only write the report of what has been done so far")
    parser.add_argument("--json", action="store_true", help="print the runs as JSON")
    _add_cluster_options(parser)


def _add_cluster_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("Cluster", "These need Ray: pip install 'sd-webui-train-embedding[cluster]'.")
    group.add_argument(
        "--address", metavar="ADDRESS",
        help='"local" starts Ray on this machine, "auto" finds a running cluster, ray://HOST:PORT connects to one',
    )  # fmt: skip
    group.add_argument(
        "--gpus-per-run", type=float, metavar="N", help="GPUs of a run; 0.5 puts two runs on one (default: 1 if there are any)"
    )
    group.add_argument(
        "--cpus-per-run", type=int, metavar="N", help="CPU cores, and threads, of a run (default: 1 on a cluster, else all cores)"
    )
    group.add_argument(
        "--workers", type=int, metavar="N", help="largest number of runs at a time (default: what fits the cluster)"
    )


def typed_place(text: str) -> Path | str:
    """Convert typed text to a path, or return the address of fsspec that it is."""
    return address if "://" in (address := typed_text(text)) else typed_path(text)


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from train_embedding.services.studies import Results, write_report

    study, folder = _study(arguments)
    results, stopped = Results(arguments.results or folder, study), False
    if arguments.dry_run:
        progress = results.progress()
    elif arguments.report:
        with results.hold():
            progress = results.progress()
            print(write_report(results, progress, {}), file=sys.stderr)
    else:
        progress, stopped = _carry_out(arguments, results)
        if stopped:
            print("Stopped. The same command continues the study.", file=sys.stderr)
    if arguments.json:
        print_json({"name": study.name, "results": results.place(), "runs": progress})
    else:
        print_table(TITLES, [row(each) for each in progress])
    if not (arguments.dry_run or arguments.report):
        return INTERRUPTED if stopped else _exit_code(progress)
    return 0


def _exit_code(progress: Sequence[RunProgress]) -> int:
    """Return 0, or raise TrainingFailed if a run has failed."""
    failed = [each for each in progress if each.status == "failed"]
    for each in failed:
        print(printable(f"{each.run.id}: {each.error}"), file=sys.stderr)
    if failed:
        raise TrainingFailed(
            plural("{count} run of the study failed.", "{count} runs of the study failed.", len(failed)),
            msg("The same command tries them again."),
        )
    return 0


def _study(arguments: argparse.Namespace) -> tuple[Study, Path | str]:
    """Read the study; return it and the place of its results. Prints all problems before it raises an error."""
    from train_embedding.services.studies import InvalidStudy, folder_study, read_study

    if (arguments.study is None) == (arguments.folder is None):
        raise InvalidInput(msg("Give either a study file or --folder."))
    given = _given(arguments)
    try:
        if arguments.folder is not None:
            if isinstance(arguments.folder, str):
                return folder_study(arguments.folder, given), f"{arguments.folder.rstrip('/')}-results"
            folder = arguments.folder.resolve()
            return folder_study(arguments.folder, given), folder.with_name(f"{folder.name}-results")
        file = arguments.study.resolve()
        return read_study(arguments.study, given), file.with_name(f"{file.stem}-results")
    except InvalidStudy as error:
        for problem in error.problems:
            print(printable(with_option_names(problem)), file=sys.stderr)
        raise InvalidInput(error.summary) from error


def _given(arguments: argparse.Namespace) -> Given:
    from train_embedding.services.studies import Given

    options: dict[str, str] = {}
    for text in arguments.set:
        name, equals, value = text.partition("=")
        if not equals:
            raise InvalidInput(msg('"{text}" has no value.', text=text), msg("Write --set OPTION=VALUE."))
        options[name.strip().replace("-", "_")] = value
    vectors: str = arguments.vectors
    return Given(
        checkpoint=str(arguments.checkpoint or ""),
        init_text=arguments.init_text,
        vectors=int(vectors) if vectors.isdecimal() else vectors,
        presets=tuple(arguments.preset),
        seeds=tuple(arguments.seed),
        options=options,
    )


def _carry_out(arguments: argparse.Namespace, results: Results) -> tuple[list[RunProgress], bool]:
    """Carry out the study; return what each run has come to, and whether Ctrl-C stopped it."""
    from train_embedding.services.studies import carry_out_study, write_report

    stop, began = threading.Event(), time.monotonic()
    with ExitStack() as stack:
        stack.enter_context(results.hold())
        before = sum(each.status == "finished" for each in results.progress())
        workers = _workers(arguments)
        stack.callback(workers.close)
        stack.enter_context(call_on_stop_signals(stop.set))
        show = stack.enter_context(shown_progress(before))
        progress = carry_out_study(results, workers, show, stop.is_set)
        facts = {"Minutes": round((time.monotonic() - began) / 60, 1)}
        print(f"Report: {write_report(results, progress, facts)}", file=sys.stderr)
    return progress, stop.is_set()


def _workers(arguments: argparse.Namespace) -> Workers:
    from train_embedding.services.studies import ThisProcess

    if arguments.address is None:
        return ThisProcess(OpenHost(), arguments.cpus_per_run)
    from train_embedding.services.studies import Cluster, Resources

    resources = Resources(arguments.gpus_per_run, arguments.cpus_per_run or 1, arguments.workers)
    return Cluster(arguments.address, OpenHost(), resources)


class OpenHost:
    """Opens hosts over the data folders of runs. Those with the same checkpoint share the model, of which one is kept.

    It can be sent to another process, which loads the checkpoints there.
    """

    def __init__(self) -> None:
        self._path = ""
        self._checkpoint: CheckpointFile | None = None

    def __call__(self, folder: Path, checkpoint: str) -> StandaloneHost:
        from train_embedding.hosts import standalone

        if self._checkpoint is None or self._path != checkpoint:
            self._checkpoint = None  # before the next one is loaded, so that memory holds one at a time
            self._path, self._checkpoint = checkpoint, standalone.CheckpointFile(Path(checkpoint) if checkpoint else None)
        return standalone.StandaloneHost(folder, self._checkpoint)
