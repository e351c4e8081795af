"""The record of a training run: its spec and state, in memory and in the run's folder."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.regular_files import read_regular_file
from train_embedding.embeddings.storage import write_atomically
from train_embedding.engine.config.old_names import with_added, with_current_names, without_retired
from train_embedding.engine.config.spec import TrainingSpec
from train_embedding.errors import InvalidSpec, NotFound
from train_embedding.hosts.base import Txt2ImgRequest
from train_embedding.messages import NOTHING, Message, decode, encode, msg

Status = Literal["queued", "preparing", "running", "stopping", "finished", "stopped", "failed", "interrupted"]
"""What a run is doing. A run is "interrupted" when its process ended before the run did."""
STATUSES: tuple[Status, ...] = get_args(Status)
ACTIVE: tuple[Status, ...] = ("queued", "preparing", "running", "stopping")
STATE_FILE = "state.json"
START_FILE = "start.pt"
"The embedding as it was before the first step."
REPORT_FILE = "images.json"
"Which images were used and how, and which were not and why."
SNAPSHOTS = "snapshots"
"The folder of snapshots in that of a run."
MAX_POINTS = 200
MAX_STATE = 8 * 2**20
"Largest size of state.json in bytes; a run of 1,200 steps with 50 previews takes 0.03 MB."


@dataclass(frozen=True)
class RunState:
    """A run at one moment. Times in seconds; files as absolute paths."""

    id: str
    embedding: str
    folder: Path
    """Holds state.json, what a resumed run starts from (start.pt, resume.safetensors), its log (loss.csv, events.jsonl,
    tensorboard), snapshots and previews."""
    spec: TrainingSpec
    checkpoint: str = ""
    "Name of the checkpoint that was trained with."
    status: Status = "queued"
    step: int = 0
    steps: int = 0
    loss: float | None = None
    "Mean over the last 20 steps."
    rate: float | None = None
    seconds: float = 0.0
    "Since the first step began."
    eta_seconds: float | None = None
    "To the last step as far as it is known: early stopping may double a budget of steps."
    eta_at_most: float | None = None
    "To the last step that the run can have."
    losses: tuple[tuple[int, float], ...] = ()
    "Step and mean loss of the steps since the point before, at most 200 points."
    evaluations: tuple[tuple[int, float, float], ...] = ()
    "Evaluations with fixed noise: step, score (1 at the start, lower is better) and mean loss."
    best_step: int | None = None
    "The step whose vectors are the best so far."
    saved_step: int | None = None
    "The step whose vectors were written to the embeddings folder, by the run or by someone who chose another; None for none."
    start_words: tuple[tuple[str, float, int], ...] = ()
    "The words tried as the start, best first: words (empty for the embedding as it was), mean loss, number of items."
    previews: tuple[Path, ...] = ()
    files: tuple[Path, ...] = ()
    "The embedding first, once it is written, then the snapshots."
    notes: tuple[Message, ...] = ()
    "Sentences for the person who started the run, such as which images were skipped."
    lasting: tuple[Message, ...] = ()
    "The notes that stay true when the run is resumed; the others are about the part that has ended."
    error: Message = NOTHING
    hint: Message = NOTHING

    @property
    def active(self) -> bool:
        """Whether the run works or waits to."""
        return self.status in ACTIVE

    @property
    def resumable(self) -> bool:
        """Whether the run ended before its last step."""
        return self.status in ("stopped", "failed", "interrupted")

    @property
    def result(self) -> Path | None:
        """The embedding's file, once it is written; there may be snapshots without it."""
        first = self.files[0] if self.files else None
        return None if first is None or first.parent.parts[-2:] == (self.id, SNAPSHOTS) else first

    def stopped_early(self) -> RunState:
        """Return the state of a run that was stopped, with a note where nothing was trained."""
        stopped = replace(self, status="stopped", eta_seconds=None, eta_at_most=None)
        return stopped if self.step else stopped.noting(msg("Stopped before the first step; the embedding is unchanged."))

    def resumed(self, spec: TrainingSpec) -> RunState:
        """Return the state of a run that is about to be resumed, without what was only true of its end."""
        ended = replace(self, error=NOTHING, hint=NOTHING, notes=self.lasting, eta_seconds=None, eta_at_most=None)
        return replace(ended, spec=spec, status="queued")

    def noting(self, *sentences: Message, lasting: bool = False) -> RunState:
        """Return the state with further notes; those that are there already are not repeated.

        Args:
            sentences: The notes.
            lasting: Whether they stay true when the run is resumed.
        """
        new = tuple(dict.fromkeys(sentence for sentence in sentences if sentence not in self.notes))
        return replace(self, notes=(*self.notes, *new), lasting=(*self.lasting, *new) if lasting else self.lasting)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, as the API answers them."""
        values = asdict(self)
        for name in ("previews", "files"):
            values[name] = [str(path) for path in values[name]]
        values["notes"], values["lasting"] = list(self.notes), list(self.lasting)
        for name in ("losses", "evaluations", "start_words"):
            values[name] = [list(point) for point in values[name]]
        return {**values, "folder": str(self.folder), "spec": self.spec.to_json(), "active": self.active}

    def to_record(self) -> dict[str, Any]:
        """Return JSON values, as state.json holds them: those of `to_json`, with sentences that can still be translated."""
        sentences = {name: [encode(sentence) for sentence in getattr(self, name)] for name in ("notes", "lasting")}
        return {**self.to_json(), **sentences, "error": encode(self.error), "hint": encode(self.hint)}

    def save(self, *, patient: bool = True) -> None:
        """Write state.json, all of it or nothing.

        Args:
            patient: Whether to try again for two seconds while another program has the file open.

        Raises:
            StorageFailed: The file cannot be written.
        """
        write_atomically(self.folder / STATE_FILE, json.dumps(self.to_record(), indent=1).encode(), patient=patient)


def load_state(folder: Path) -> RunState:
    """Read a run's state.json; a run that was active when its process ended is "interrupted".

    Raises:
        OSError: There is no such file, or it cannot be read.
        ValueError: The file does not hold a run.
    """
    file = folder / STATE_FILE
    data = read_regular_file(file, MAX_STATE)
    if len(data) > MAX_STATE:
        raise ValueError(f"{file} is larger than {MAX_STATE} bytes")
    try:
        values: Any = json.loads(data.decode("utf-8"))
    except RecursionError as error:
        raise ValueError(f"{file} does not hold a run") from error
    if not isinstance(values, dict):
        raise ValueError(f"{file} does not hold a run")
    known = {field.name for field in fields(RunState)}
    chosen: dict[str, Any] = {str(key): value for key, value in values.items() if key in known}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    try:
        state = _parse(RunState(**chosen), folder)
    except (TypeError, OverflowError, AttributeError, KeyError) as error:
        raise ValueError(f"{file} does not hold a run") from error
    if not state.active:
        return state
    error = msg("The program ended before the run did.")
    hint = msg("Resume it to continue from where it was last saved.")
    return replace(state, status="interrupted", eta_seconds=None, eta_at_most=None, error=error, hint=hint)


def no_such_run(run_id: str) -> NotFound:
    """Return the error for a run that does not exist."""
    return NotFound(msg('There is no run "{run}".', run=run_id))


def preview_request(spec: TrainingSpec, prompt: str, width: int, height: int) -> Txt2ImgRequest:
    """Return how a run's preview is generated.

    Args:
        spec: The options of the run.
        prompt: One of `spec.preview_prompts()`.
        width: In pixels.
        height: In pixels.
    """
    return Txt2ImgRequest(
        prompt=prompt.replace("[name]", spec.embedding),
        negative_prompt=spec.preview_negative_prompt.replace("[name]", spec.embedding),
        steps=spec.preview_steps,
        guidance=spec.preview_guidance,
        seed=spec.preview_seed,
        width=width,
        height=height,
    )


def load_start(state: RunState) -> Embedding | None:
    """Read the embedding as it was before the run's first step; None for a run that has not begun to train.

    Raises:
        UnreadableFile: The file is damaged.
    """
    from train_embedding.embeddings.formats import read_embedding

    file = state.folder / START_FILE
    # The file is not named after the embedding.
    return replace(read_embedding(file), name=state.embedding) if file.exists() else None


def parse_spec(values: Any) -> TrainingSpec:
    """Build the spec of a run of this version or an earlier one.

    Raises:
        ValueError: The values are not those of a run.
    """
    try:
        return TrainingSpec.from_json(with_added(without_retired(with_current_names(dict(values)))))
    except InvalidSpec as error:
        raise ValueError(str(error)) from error


def thinned(points: list[tuple[int, float]]) -> tuple[tuple[int, float], ...]:
    """Reduce a curve to at most MAX_POINTS points, each the mean loss of a stretch, at the stretch's last step."""
    size = -(-len(points) // MAX_POINTS)
    stretches = [points[start : start + size] for start in range(0, len(points), size)] if points else []
    return tuple((stretch[-1][0], sum(loss for _, loss in stretch) / len(stretch)) for stretch in stretches)


def _parse(values: RunState, folder: Path) -> RunState:
    """Convert a state whose fields hold JSON values. Raises TypeError or ValueError for values of a wrong kind."""
    if values.status not in STATUSES:
        raise ValueError(f"{folder / STATE_FILE} has an unknown status")
    return replace(
        values,
        id=folder.name,
        folder=folder,
        embedding=str(values.embedding),
        spec=parse_spec(values.spec),
        checkpoint=str(values.checkpoint),
        step=int(values.step),
        steps=int(values.steps),
        seconds=float(values.seconds),
        losses=tuple((int(step), float(loss)) for step, loss in values.losses),
        evaluations=tuple((int(step), float(score), float(loss)) for step, score, loss in values.evaluations),
        start_words=tuple((str(words), float(loss), int(items)) for words, loss, items in values.start_words),
        best_step=None if values.best_step is None else int(values.best_step),
        saved_step=None if values.saved_step is None else int(values.saved_step),
        previews=tuple(Path(path) for path in values.previews),
        files=tuple(Path(path) for path in values.files),
        notes=tuple(decode(sentence) for sentence in values.notes),
        lasting=tuple(decode(sentence) for sentence in values.lasting),
        error=decode(values.error),
        hint=decode(values.hint),
    )
