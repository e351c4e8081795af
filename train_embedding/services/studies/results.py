"""The folder of a study's results: what each run has come to, read from files that the workers write.

study.json             the plan
runs/ID/               the data folder of a run: embeddings/, runs/, images/ and result.json
embeddings/            the trained embeddings of all runs
report.html, results.json
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Generator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from train_embedding.embeddings.regular_files import read_regular_file
from train_embedding.embeddings.storage import storage_failed, write_atomically
from train_embedding.errors import Conflict
from train_embedding.messages import NOTHING, Message, decode, encode, msg
from train_embedding.services.run_records import RunState, load_state
from train_embedding.services.store.locks import file_lock
from train_embedding.services.studies.plan import PlannedRun, Study

PLAN_FILE, RESULT_FILE, TABLE_FILE, REPORT_FILE = "study.json", "result.json", "results.json", "report.html"
MAX_RESULT = 2**20
"Largest size of a result.json in bytes."

Status = Literal["waiting", "running", "finished", "stopped", "failed"]
STATUSES: tuple[Status, ...] = get_args(Status)


@dataclass(frozen=True)
class RunResult:
    """How a run of a study has ended, as its result.json says. Times in seconds, files relative to the folder of the run."""

    status: Status
    step: int = 0
    loss: float | None = None
    "Mean training loss of the last 20 steps."
    evaluation: float | None = None
    "Loss on fixed noise of the vectors that were kept, divided by that of the start; None without evaluations."
    seconds: float = 0.0
    "From the first step on, without preparation."
    vectors_sha256: str = ""
    "SHA-256 of the values of the vectors, as fp32."
    file: str = ""
    "The embedding."
    images: tuple[str, ...] = ()
    "Images that were generated with it: for each prompt, one per seed."
    worker: str = ""
    "Computer and process that ended the run."
    resumed: int = 0
    "How often the run was continued after an interruption."
    error: Message = NOTHING

    def save(self, folder: Path) -> None:
        """Write result.json to the folder of the run. Raises StorageFailed."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values.update(images=list(self.images), error=encode(self.error))
        write_atomically(folder / RESULT_FILE, json.dumps(values, ensure_ascii=False, indent=1).encode())


@dataclass(frozen=True)
class RunProgress:
    """A run of a study at one moment."""

    run: PlannedRun
    status: Status
    state: RunState | None = None
    "The state of its training run; None before it began."
    result: RunResult | None = None
    "None before it ended."

    @property
    def step(self) -> int:
        """Number of steps."""
        return self.state.step if self.state else 0

    @property
    def error(self) -> Message:
        """Why the run failed; empty if it did not."""
        return self.result.error if self.result and self.status == "failed" else NOTHING

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        state, result = self.state, self.result
        return {
            **self.run.to_json(),
            "status": self.status,
            "step": self.step,
            "steps": state.steps if state else None,
            "loss": state.loss if state else None,
            "evaluation": result.evaluation if result else None,
            "seconds": state.seconds if state else 0.0,
            "eta_seconds": state.eta_seconds if state and self.status == "running" else None,
            "vectors_sha256": result.vectors_sha256 if result else "",
            "worker": result.worker if result else "",
            "resumed": result.resumed if result else 0,
            "error": str(self.error),
        }


class Results:
    """The folder of a study's results.

    Args:
        folder: It is created if it does not exist.
        study: The study.
    """

    def __init__(self, folder: Path, study: Study) -> None:
        self.folder = folder
        self.study = study
        names = Counter(run.embedding for run in study.runs)
        self._files = {run.id: run.embedding if names[run.embedding] == 1 else run.id for run in study.runs}
        self._known: dict[str, RunProgress] = {}

    @contextmanager
    def hold(self) -> Generator[None, None, None]:
        """Write the plan, and keep other commands from working on the same results until exit.

        Raises:
            Conflict: Another command works on them.
            StorageFailed: The folder cannot be written.
        """
        try:
            with file_lock(self.folder / ".lock"):
                plan = json.dumps(self.study.to_json(), ensure_ascii=False, indent=1)
                write_atomically(self.folder / PLAN_FILE, plan.encode("utf-8", "replace"))
                yield
        except TimeoutError as error:
            raise Conflict(
                msg('Another command is working on the study in "{folder}".', folder=self.folder), msg("Wait until it ends.")
            ) from error

    def run_folder(self, run: PlannedRun) -> Path:
        """Return the folder of a run."""
        return self.folder / "runs" / run.id

    def progress(self, running: Collection[str] = ()) -> list[RunProgress]:
        """Read what each run has come to. Those that no worker works on are read once, because nobody else begins runs.

        Args:
            running: The ids of the runs that a worker works on.
        """
        for run in self.study.runs:
            if run.id in running or run.id not in self._known:
                self._known[run.id] = _read(run, self.run_folder(run), run.id in running)
        return [self._known[run.id] for run in self.study.runs]

    def forget(self, run: PlannedRun) -> None:
        """Read a run again, because a worker has ended it."""
        self._known.pop(run.id, None)

    def unfinished(self) -> list[PlannedRun]:
        """Return the runs that are still to be carried out, those that were begun first."""
        waiting = [each for each in self.progress() if each.status != "finished"]
        return [each.run for each in sorted(waiting, key=lambda each: each.state is None)]

    def collect(self, run: PlannedRun) -> None:
        """Copy the embedding of a run to the folder of all embeddings. Raises StorageFailed."""
        result = read_result(self.run_folder(run))
        if result is None or not result.file:
            return
        source = self.run_folder(run) / result.file
        target = self.folder / "embeddings" / f"{self._files[run.id]}{source.suffix}"
        try:
            write_atomically(target, source.read_bytes())
        except OSError as error:
            raise storage_failed(target, error) from error


def read_result(folder: Path) -> RunResult | None:
    """Read how a run has ended; None if it has not, or if the file is damaged, so that the run is carried out again."""
    try:
        values: Any = json.loads(read_regular_file(folder / RESULT_FILE, MAX_RESULT))
        known: dict[str, Any] = {field.name: values[field.name] for field in fields(RunResult) if field.name in values}
        known |= {"error": decode(known.get("error", "")), "images": tuple(known.get("images", ()))}
        result = RunResult(**known)
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return result if result.status in STATUSES else None


def newest_state(folder: Path) -> RunState | None:
    """Return the state of the training run in the folder of a run; None if there is none that can be read."""
    try:
        folders = sorted(path for path in (folder / "runs").iterdir() if path.is_dir())
    except OSError:
        return None
    for path in reversed(folders):
        try:
            return load_state(path)
        except (OSError, ValueError):
            continue
    return None


def _read(run: PlannedRun, folder: Path, running: bool) -> RunProgress:
    state, result = newest_state(folder), read_result(folder)
    if running:
        return RunProgress(run, "running", state)
    if result is not None:
        return RunProgress(run, result.status, state, result)
    return RunProgress(run, "waiting" if state is None else "stopped", state)
