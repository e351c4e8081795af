"""What is known of a training run, in memory and in its folder."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.storage import write_atomically
from train_embedding.engine.config.old_names import with_current_names, without_retired

ACTIVE = ("queued", "preparing", "running", "stopping")
STATUSES = (*ACTIVE, "finished", "stopped", "failed", "interrupted")
"The last one is a run whose process ended before the run did."
STATE_FILE = "state.json"
START_FILE = "start.pt"
"The embedding as it was before the first step."
SNAPSHOTS = "snapshots"
"The folder of snapshots in that of a run."
NOTHING_DONE = "Stopped before the first step; the embedding is as it was."
MAX_POINTS = 200


@dataclass(frozen=True)
class RunState:
    """A run at one moment. Times in seconds; files as absolute paths."""

    id: str
    embedding: str
    folder: Path
    """Holds state.json, what the run goes on from (start.pt, resume.safetensors), its log (loss.csv, events.jsonl, tensorboard),
    snapshots and previews."""
    spec: dict[str, Any] = field(default_factory=dict[str, Any])
    status: str = "queued"
    step: int = 0
    steps: int = 0
    loss: float | None = None
    "Mean over the last 20 steps."
    rate: float | None = None
    seconds: float = 0.0
    "Since the first step began."
    eta_seconds: float | None = None
    losses: tuple[tuple[int, float], ...] = ()
    "Step and mean loss of the steps up to it, at most 200 points."
    evaluations: tuple[tuple[int, float, float], ...] = ()
    "On fixed pictures, noise and noise levels: step, score (1 at the start, lower is better) and mean loss."
    best_step: int | None = None
    "The step whose vectors are the best so far."
    previews: tuple[Path, ...] = ()
    files: tuple[Path, ...] = ()
    "The embedding first, once it is written, then the snapshots."
    notes: tuple[str, ...] = ()
    "Sentences that whoever started it should read, such as which pictures were skipped."
    lasting: tuple[str, ...] = ()
    "Those of the notes that stay true when the run is resumed; the others are about the part that has ended."
    error: str = ""
    hint: str = ""

    @property
    def active(self) -> bool:
        """Whether it still works or waits to."""
        return self.status in ACTIVE

    @property
    def resumable(self) -> bool:
        """Whether it ended before it was done, so that it can go on."""
        return self.status in ("stopped", "failed", "interrupted")

    @property
    def result(self) -> Path | None:
        """The embedding's file, once it is written; snapshots may be there without it."""
        first = self.files[0] if self.files else None
        return None if first is None or first.parent.parts[-2:] == (self.id, SNAPSHOTS) else first

    def stopped_early(self) -> RunState:
        """The state of a run that was stopped, with the sentence that says what became of the embedding."""
        notes = self.notes if self.step else (*self.notes, NOTHING_DONE)
        return replace(self, status="stopped", eta_seconds=None, notes=notes)

    def resumed(self, spec: dict[str, Any]) -> RunState:
        """The state of a run that is about to go on: what was only true of its end is no longer said."""
        return replace(self, spec=spec, status="queued", error="", hint="", notes=self.lasting, eta_seconds=None)

    def to_json(self) -> dict[str, Any]:
        values = asdict(self)
        for name in ("previews", "files"):
            values[name] = [str(path) for path in values[name]]
        values["notes"], values["lasting"] = list(self.notes), list(self.lasting)
        for name in ("losses", "evaluations"):
            values[name] = [list(point) for point in values[name]]
        return {**values, "folder": str(self.folder), "active": self.active}

    def save(self, *, patient: bool = True) -> None:
        """Writes state.json, all of it or nothing. Raises StorageFailed.

        patient: whether to try again for two seconds while another program has the file open.
        """
        write_atomically(self.folder / STATE_FILE, json.dumps(self.to_json(), indent=1).encode(), patient=patient)

    def noting(self, sentence: str) -> RunState:
        """The same state with one more sentence to read, unless it is there."""
        return self if sentence in self.notes else replace(self, notes=(*self.notes, sentence))


def load_state(folder: Path) -> RunState:
    """Reads a run's state.json; a run that was active when its process ended is "interrupted".

    Raises OSError or ValueError when there is none or it is not one.
    """
    values: Any = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
    if not isinstance(values, dict):
        raise ValueError(f"{folder / STATE_FILE} holds no run")
    known = {one.name for one in fields(RunState)}
    chosen: dict[str, Any] = {str(key): value for key, value in values.items() if key in known}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    try:
        state = RunState(**chosen)
        state = replace(
            state,
            id=folder.name,
            folder=folder,
            spec=without_retired(with_current_names(dict(state.spec))),
            step=int(state.step),
            steps=int(state.steps),
            seconds=float(state.seconds),
            losses=tuple((int(step), float(loss)) for step, loss in state.losses),
            evaluations=tuple((int(step), float(score), float(loss)) for step, score, loss in state.evaluations),
            best_step=None if state.best_step is None else int(state.best_step),
            previews=tuple(Path(path) for path in state.previews),
            files=tuple(Path(path) for path in state.files),
            notes=tuple(state.notes),
            lasting=tuple(state.lasting),
        )
        if state.status not in STATUSES:
            raise ValueError(f"{folder / STATE_FILE} has an unknown status")
    except TypeError as error:
        raise ValueError(f"{folder / STATE_FILE} holds no run") from error
    if state.active:
        hint = "Resume it, and it goes on from where it was last saved."
        return replace(state, status="interrupted", eta_seconds=None, error="The program ended before the run did.", hint=hint)
    return state


def thinned(points: list[tuple[int, float]]) -> tuple[tuple[int, float], ...]:
    """At most MAX_POINTS points that stand for all: each the mean loss of a stretch, at the stretch's last step."""
    size = -(-len(points) // MAX_POINTS)
    stretches = [points[start : start + size] for start in range(0, len(points), size)] if points else []
    return tuple((stretch[-1][0], sum(loss for _, loss in stretch) / len(stretch)) for stretch in stretches)


def load_start(state: RunState) -> Embedding | None:
    """What a run that goes on began with; None where it never began. Raises UnreadableFile."""
    from train_embedding.embeddings.formats import read_embedding

    file = state.folder / START_FILE
    # The file is not called what the embedding is.
    return replace(read_embedding(file), name=state.embedding) if file.exists() else None
