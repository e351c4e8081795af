"""The folder of a study's results: what each run has come to, read from files that the workers write.

study.json             the plan
runs/ID/               the data folder of a run: embeddings/, runs/, images/ and result.json
embeddings/            the trained embeddings of all runs
report.html, results.json

At an address, runs/ID/ holds archives instead (`addresses`), which are read into a folder on this machine.
"""

from __future__ import annotations

import json
import tempfile
import time
import weakref
from collections import Counter
from collections.abc import Collection, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from train_embedding.embeddings.regular_files import read_regular_file
from train_embedding.embeddings.storage import remove_tree, storage_failed, write_atomically
from train_embedding.errors import Conflict
from train_embedding.messages import NOTHING, Message, decode, encode, msg
from train_embedding.services.run_records import RunState, load_state
from train_embedding.services.store.locks import file_lock
from train_embedding.services.studies import addresses
from train_embedding.services.studies.plan import PlannedRun, Study

PLAN_FILE, RESULT_FILE, TABLE_FILE, REPORT_FILE = "study.json", "result.json", "results.json", "report.html"
MAX_RESULT = 2**20
"Largest size of a result.json in bytes."
REFRESH = 10.0
"Seconds between two looks at what running runs have saved at an address."
_READERS = 8
"Number of runs that are read from an address at the same time."

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
        place: Its path or address. It is created if it does not exist.
        study: The study.

    Attributes:
        folder: The folder; if the results are at an address, a temporary one with what was read from there.
    """

    def __init__(self, place: Path | str, study: Study) -> None:
        self.study = study
        self._place = place if isinstance(place, str) and addresses.is_address(place) else ""
        if self._place:
            self.folder = Path(tempfile.mkdtemp(prefix="train-embedding-study-"))
            weakref.finalize(self, _discard, self.folder)
        else:
            self.folder = Path(place)
        names = Counter(run.embedding for run in study.runs)
        self._files = {run.id: run.embedding if names[run.embedding] == 1 else run.id for run in study.runs}
        self._known: dict[str, RunProgress] = {}
        self._saved = {run.id: addresses.SavedRun(self.run_place(run)) for run in study.runs} if self._place else {}
        self._fetched: dict[str, float] = {}
        "When each run was last read from the address."

    def place(self, name: str = "") -> str:
        """Return the path or address of the results, or of a file there."""
        if self._place:
            return addresses.joined_address(self._place, name) if name else self._place
        return str(self.folder / name)

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
                self.write(PLAN_FILE, plan.encode("utf-8", "replace"))
                yield
        except TimeoutError as error:
            raise Conflict(
                msg('Another command is working on the study in "{folder}".', folder=self.folder), msg("Wait until it ends.")
            ) from error

    def write(self, name: str, data: bytes) -> None:
        """Write a file of the results. Raises StorageFailed."""
        write_atomically(self.folder / name, data)
        if self._place:
            addresses.write(self.place(name), data)

    def run_folder(self, run: PlannedRun) -> Path:
        """Return the folder of a run on this machine."""
        return self.folder / "runs" / run.id

    def run_place(self, run: PlannedRun) -> str:
        """Return the path or address at which a worker carries out a run."""
        return self.place(f"runs/{run.id}") if self._place else str(self.run_folder(run).absolute())

    def progress(self, running: Collection[str] = ()) -> list[RunProgress]:
        """Read what each run has come to. Those that no worker works on are read once, because nobody else begins runs.

        Args:
            running: The ids of the runs that a worker works on.

        Raises:
            StorageFailed: The address of the results cannot be read.
        """
        latest = time.monotonic() - REFRESH
        known, active = self._fetched, frozenset(running)
        self._fetch(run for run in self.study.runs if run.id not in known or (run.id in active and known[run.id] < latest))
        for run in self.study.runs:
            if run.id in running or run.id not in self._known:
                self._known[run.id] = _read(run, self.run_folder(run), run.id in running)
        return [self._known[run.id] for run in self.study.runs]

    def forget(self, run: PlannedRun) -> None:
        """Read a run again, because a worker has ended it."""
        self._known.pop(run.id, None)
        self._fetched.pop(run.id, None)

    def give_up(self, run: PlannedRun, result: RunResult) -> None:
        """Write the result of a run that no worker could end. Raises StorageFailed."""
        self._fetch([run])
        result.save(self.run_folder(run))
        if self._place:
            self._saved[run.id].save(self.run_folder(run))

    def unfinished(self) -> list[PlannedRun]:
        """Return the runs that are still to be carried out, those that were begun first."""
        waiting = [each for each in self.progress() if each.status != "finished"]
        return [each.run for each in sorted(waiting, key=lambda each: each.state is None)]

    def collect(self, run: PlannedRun) -> None:
        """Copy the embedding of a run to the folder of all embeddings. Raises StorageFailed."""
        self._fetch([run])
        result = read_result(self.run_folder(run))
        if result is None or not result.file:
            return
        source = self.run_folder(run) / result.file
        name = f"embeddings/{self._files[run.id]}{source.suffix}"
        try:
            self.write(name, source.read_bytes())
        except OSError as error:
            raise storage_failed(self.folder / name, error) from error

    def _fetch(self, runs: Iterable[PlannedRun]) -> None:
        """Read what runs have saved at the address, if the results are at one. Raises StorageFailed."""
        if not self._place:
            return

        def fetch(run: PlannedRun) -> None:
            self._saved[run.id].fetch(self.run_folder(run))
            self._fetched[run.id] = time.monotonic()

        with ThreadPoolExecutor(_READERS) as pool:
            list(pool.map(fetch, runs))


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
        if state is not None and state.step:  # a state that is read has no remaining time, because its process may have ended
            state = replace(state, eta_seconds=state.seconds / state.step * (state.steps - state.step))
        return RunProgress(run, "running", state)
    if result is not None:
        return RunProgress(run, result.status, state, result)
    return RunProgress(run, "waiting" if state is None else "stopped", state)


def _discard(folder: Path) -> None:
    with suppress(OSError):
        remove_tree(folder)
