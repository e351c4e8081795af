"""Comparisons: grids of images drawn in the background by the host's own generator, and the choice of a step."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.fonts import can_draw
from train_embedding.embeddings.regular_files import read_regular_file
from train_embedding.embeddings.storage import remove_file, write_atomically
from train_embedding.errors import (
    Conflict,
    HostFailed,
    InvalidInput,
    NotFound,
    TrainEmbeddingError,
    UnreadableFile,
    cannot_read,
    refusal_of,
)
from train_embedding.hosts.base import Host, Progress
from train_embedding.images.limits import THUMBNAIL_BYTES
from train_embedding.images.png import encode_png
from train_embedding.messages import Message, joined, msg
from train_embedding.services.comparing.comparison import (
    ACTIVE,
    EMBEDDINGS,
    ComparableStep,
    Comparison,
    Used,
    comparison_of,
    row_label,
)
from train_embedding.services.comparing.grid import (
    MAX_ROWS,
    Grid,
    GridOptions,
    Row,
    check_same_checkpoint,
    digest_of,
    load_grid,
    preview_options,
    spread_steps,
)
from train_embedding.services.comparing.images import (
    dataset_image,
    decode,
    image_names,
    jpeg,
    read_cell,
    shown_files,
    shown_images,
)
from train_embedding.services.comparing.sheet import SheetRow, make_sheet
from train_embedding.services.infotext import infotext, with_infotext
from train_embedding.services.library.library import Entry, Library
from train_embedding.services.loaded_checkpoint import check_fits
from train_embedding.services.run_records import RunState, load_start, no_such_run
from train_embedding.services.training.kept_steps import kept_steps, read_step
from train_embedding.services.training.queue import Queue
from train_embedding.services.training.runs import Runs

if TYPE_CHECKING:
    pass

FOLDER, EMBEDDINGS_FOLDER = "comparison", "comparisons"
"The folder of a grid in that of a run, and that of the grid of embeddings, next to the runs folder."
KEPT_IMAGES = 960
"Number of images of earlier grids that are kept, as many as the largest grid has; they need not be drawn again."
_KEY = re.compile(r"[0-9a-f]{32}")

logger = logging.getLogger(__name__)


@dataclass
class _Job:
    """A grid that this process draws or has drawn."""

    grid: Grid
    folder: Path
    embeddings: Sequence[Embedding]
    drawn: set[str] = field(default_factory=set[str])
    stop: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None


class Comparing:
    """Use cases about comparisons. Safe to call from any thread. One grid is drawn at a time, and none while a training runs.

    Args:
        host: The host that draws the images.
        library: The library that a chosen step is saved to.
        runs: The runs whose steps are compared.
        queue: The queue, whose trainings come first.
    """

    def __init__(self, host: Host, library: Library, runs: Runs, queue: Queue) -> None:
        self._host = host
        self._library = library
        self._runs = runs
        self._queue = queue
        self._lock = threading.RLock()
        self._jobs: dict[str, _Job] = {}
        self._last_sheet: tuple[object, bytes] | None = None
        "What the last sheet shows, and its file."

    def steps(self, run_id: str) -> list[ComparableStep]:
        """List the steps of a run whose vectors were kept. Raises NotFound if there is no such run."""
        state = self._runs.get(run_id)
        losses = {step: loss for step, _, loss in state.evaluations}
        used = self._step_in_use(state)
        return [ComparableStep(step, losses.get(step), step == used) for step in kept_steps(state)]

    def step_of_run(self, run_id: str) -> int | None:
        """Return the step of a run that a grid of embeddings shows: the saved one, or the last; None if none was kept."""
        state = self._runs.get(run_id)
        kept = kept_steps(state)
        return state.saved_step if state.saved_step in kept else kept[-1] if kept else None

    def default_options(self, run_id: str) -> GridOptions:
        """Return the options of the last grid or, before the first, those of the run's previews. Raises NotFound."""
        if run_id == EMBEDDINGS:
            grid = load_grid(self._folder(EMBEDDINGS))
            return GridOptions() if grid is None else grid.options
        state = self._runs.get(run_id)
        grid = load_grid(state.folder / FOLDER)
        return preview_options(state.spec) if grid is None else grid.options

    def start(self, run_id: str, options: GridOptions | None = None, steps: Sequence[int] = ()) -> Comparison:
        """Draw a grid of steps of a run and prompts in the background. Images that exist already are kept.

        Args:
            run_id: The run.
            options: Prompts and settings; by default those of the run's previews.
            steps: The steps; by default some of those that were kept, evenly spaced.

        Raises:
            NotFound: There is no such run, or no vectors of it were kept.
            InvalidInput: An option cannot be used, or a step was not kept.
            Conflict: A training is active, another grid is being drawn, or the embedding is for another model.
            HostFailed: No checkpoint is loaded.
            StorageFailed: The record cannot be written.
        """
        state = self._runs.get(run_id)
        self._check_free(state.embedding)
        chosen = self._chosen_steps(state, steps)
        rows = [(read_step(state, step), step, "") for step in chosen]
        return self._begin(run_id, state.folder / FOLDER, rows, options or preview_options(state.spec))

    def start_embeddings(self, names: Sequence[str], options: GridOptions | None = None, runs: Sequence[str] = ()) -> Comparison:
        """Draw a grid of embeddings and prompts in the background, with [name] standing for the embedding of each row.

        Args:
            names: The embeddings.
            options: Prompts and settings.
            runs: Runs whose saved step, or else last step, becomes a row too.

        Raises:
            NotFound: There is no such embedding or run, or no vectors of the run were kept.
            InvalidInput: Nothing or too much is to be compared, or an option cannot be used.
            TrainEmbeddingError: What `start` raises.
        """
        names, runs = list(dict.fromkeys(names)), list(dict.fromkeys(runs))
        if not names and not runs:
            raise InvalidInput(msg("There is no embedding to compare."), msg("Name at least one."))
        if len(names) + len(runs) > MAX_ROWS:
            count = len(names) + len(runs)
            raise InvalidInput(msg("There are {count} embeddings; a grid has at most {limit}.", count=count, limit=MAX_ROWS))
        self._check_free()
        embeddings = [self._library.read(name) for name in names]
        rows = [(embedding, embedding.step or 0, "") for embedding in embeddings]
        rows += [self._row_of_run(run_id) for run_id in runs]
        return self._begin(EMBEDDINGS, self._folder(EMBEDDINGS), rows, options or GridOptions())

    def resume(self, grid_id: str) -> Comparison:
        """Continue a grid that was stopped or failed. Raises the errors of `start`."""
        grid = self._grid(grid_id)
        if grid_id == EMBEDDINGS:
            names, runs = [row.embedding for row in grid.rows if not row.run], [row.run for row in grid.rows if row.run]
            return self.start_embeddings(names, grid.options, runs)
        return self.start(grid_id, grid.options, [row.step for row in grid.rows])

    def stop(self, grid_id: str) -> Comparison:
        """Stop drawing a grid after the current image; the images that exist are kept. Raises NotFound."""
        with self._lock:
            job = self._jobs.get(grid_id)
            if job is not None and job.grid.status in ACTIVE:
                job.stop.set()
                job.grid = replace(job.grid, status="stopping")
        return self.get(grid_id)

    def find(self, grid_id: str) -> Comparison | None:
        """Return the grid of a run, or that of embeddings; None if none was drawn. Raises NotFound if there is no such run."""
        folder = self._folder(grid_id)
        with self._lock:
            job = self._jobs.get(grid_id)
            if job is not None and job.folder == folder and (job.grid.status in ACTIVE or folder.is_dir()):
                return comparison_of(grid_id, job.grid, frozenset(job.drawn))
        grid = load_grid(folder)
        return None if grid is None else comparison_of(grid_id, grid, _existing(grid, folder))

    def get(self, grid_id: str) -> Comparison:
        """Return the grid of a run, or that of embeddings. Raises NotFound if none was drawn."""
        found = self.find(grid_id)
        if found is None:
            raise NotFound(msg("No comparison images have been generated yet."), msg("Generate them first."))
        return found

    def wait(self, grid_id: str, timeout: float | None = None) -> Comparison:
        """Wait until a grid is no longer being drawn, at most `timeout` seconds. Raises NotFound."""
        job = self._jobs.get(grid_id)
        if job is not None and job.thread is not None:
            job.thread.join(timeout)
        return self.get(grid_id)

    def version(self) -> str:
        """Return a text that changes whenever a grid of this process does."""
        with self._lock:
            return " ".join(f"{key}:{job.grid.status}:{len(job.drawn)}" for key, job in self._jobs.items())

    def cell(self, grid_id: str, key: str) -> bytes:
        """Return the PNG file of a cell. Raises NotFound."""
        file = self._folder(grid_id) / f"{key}.png"
        if not _KEY.fullmatch(key) or not file.is_file():
            raise NotFound(msg("This image does not exist."))
        try:
            return read_regular_file(file, THUMBNAIL_BYTES)
        except OSError as error:
            raise UnreadableFile(cannot_read(file.name, error)) from error

    def thumbnail(self, grid_id: str, key: str, side: int) -> bytes:
        """Return a small JPEG of a cell. Raises NotFound, UnreadableFile."""
        return jpeg(decode(self.cell(grid_id, key), f"{key}.png", side))

    def dataset_images(self, run_id: str) -> int:
        """Return how many images of the run's dataset are shown beside its grid. Raises NotFound if there is no such run."""
        return len(image_names(self._runs.get(run_id)))

    def dataset_image(self, run_id: str, number: int, side: int) -> bytes:
        """Return a small JPEG of an image of the run's dataset, counted from 0.

        Raises:
            NotFound: There is no such run or image.
            NotAllowed: The folder may not be read.
            UnreadableFile: The image cannot be read.
        """
        return jpeg(dataset_image(self._runs.get(run_id), number, side, self._host.info().allowed_folders))

    def sheet(self, grid_id: str, translate: Callable[[Message], str] = str) -> bytes:
        """Return the grid as one image, a PNG file with labels and a description of how it was made.

        The last image is kept, and returned again until the grid changes.

        Args:
            grid_id: The run, or `EMBEDDINGS`.
            translate: Translates the labels; they stay English if no font on this computer has the characters of the translation.

        Raises:
            NotFound: None was drawn.
        """
        comparison, folder, grid = self.get(grid_id), self._folder(grid_id), self._grid(grid_id)
        texts = _sheet_texts(comparison, grid, translate)
        if not all(map(can_draw, texts)):
            texts = _sheet_texts(comparison, grid, str)
        shown = [] if grid_id == EMBEDDINGS else shown_files(self._runs.get(grid_id))
        version = (grid_id, replace(grid, status="finished", notes=()), comparison.drawn, texts, shown)
        with self._lock:
            if self._last_sheet is not None and self._last_sheet[0] == version:
                return self._last_sheet[1]
        title, beside, *labels = texts
        rows = [
            SheetRow(label, [read_cell(folder, key) for key in keys]) for label, keys in zip(labels, comparison.keys, strict=True)
        ]
        images = [] if grid_id == EMBEDDINGS else shown_images(self._runs.get(grid_id), self._host.info().allowed_folders)
        sheet = make_sheet(grid, " · ".join(filter(None, (title, grid.checkpoint))), rows, images, beside)
        with self._lock:
            self._last_sheet = (version, sheet)
        return sheet

    def save_sheet(self, grid_id: str, file: Path) -> None:
        """Write the grid as one image, a PNG file. Raises NotFound, StorageFailed."""
        write_atomically(file, self.sheet(grid_id))

    def use_step(self, run_id: str, step: int) -> Used:
        """Make the vectors of a step the embedding of a run; the file that it replaces goes to the trash.

        Raises:
            NotFound: There is no such run, or the vectors of the step were not kept.
            Conflict: The run is active, or the embedding is being trained.
            StorageFailed: The file cannot be written.
        """
        state = self._runs.get(run_id)
        if state.active:
            raise Conflict(msg('The run "{run}" is still active.', run=run_id), msg("Stop it first."))
        embedding = read_step(state, step)
        before = {item.id for item in self._library.trashed()}
        entry = self._library.save(embedding)
        new = [item for item in self._library.trashed() if item.id not in before and item.name == entry.name]
        self._runs.set_saved_step(run_id, step)
        return Used(entry, step, new[0].id if new else "")

    def undo_use(self, run_id: str, trash_id: str) -> Entry:
        """Bring back the embedding file that `use_step` replaced; the present one goes to the trash.

        Raises:
            NotFound: There is no such run, or the item is not in the trash.
            Conflict: The embedding is being trained, or the item is another embedding's.
            UnreadableFile: The file is damaged.
        """
        state = self._runs.get(run_id)
        entry = self._library.bring_back(trash_id, state.embedding)
        self._runs.set_saved_step(run_id, self._step_in_use(state))
        return entry

    def _check_free(self, name: str = "") -> None:
        """Raise Conflict while a training is active or about to begin, or another grid is drawn."""
        current = self._runs.current()
        active = current.embedding if current is not None and current.active else ""
        if name and not active and self._library.is_being_trained(name):
            active = name
        if active:
            raise Conflict(
                msg('"{name}" is being trained, so no comparison images can be generated.', name=active),
                msg("Wait until the run ends, or stop it."),
            )
        waiting = self._queue.waiting()
        if waiting is not None:
            raise Conflict(
                msg(
                    'The training of "{name}" is waiting in the queue, so no comparison images can be generated.',
                    name=waiting.spec.embedding,
                ),
                msg("Wait until the queue is done, or pause it."),
            )
        if any(job.grid.status in ACTIVE for job in self._jobs.values()):
            raise Conflict(
                msg("Comparison images are already being generated."), msg("Wait until they are done, or stop the job.")
            )

    def _chosen_steps(self, state: RunState, steps: Sequence[int]) -> list[int]:
        kept = kept_steps(state)
        if not kept:
            raise _nothing_kept(state)
        missing = sorted(set(steps) - set(kept))
        if missing:
            raise InvalidInput(
                msg("The vectors of these steps were not kept: {steps}.", steps=joined(map(str, missing[:10]))),
                msg("The kept steps are {steps}.", steps=joined(map(str, kept))),
            )
        if len(set(steps)) > MAX_ROWS:
            raise InvalidInput(msg("There are {count} steps; a grid has at most {limit}.", count=len(set(steps)), limit=MAX_ROWS))
        return sorted(set(steps)) or spread_steps(kept, [state.saved_step, state.best_step, self._step_in_use(state)])

    def _row_of_run(self, run_id: str) -> tuple[Embedding, int, str]:
        state, step = self._runs.get(run_id), self.step_of_run(run_id)
        if step is None:
            raise _nothing_kept(state)
        return read_step(state, step), step, run_id

    def _begin(
        self, grid_id: str, folder: Path, vectors: Sequence[tuple[Embedding, int, str]], options: GridOptions
    ) -> Comparison:
        """Start to draw a grid, given the vectors, the step and the run of each row."""
        info, embeddings = self._runs.loaded_info(), [embedding for embedding, _, _ in vectors]
        for embedding in embeddings:
            check_fits(embedding.name, embedding.widths, info)
        options = options.checked().sized_for(info.resolution)
        rows = tuple(Row(step, item.name, digest_of(item), run) for item, step, run in vectors)
        grid = Grid(grid_id, options, rows, info.checkpoint_name, info.checkpoint_hash)
        grid = replace(grid, notes=self._notes(grid))
        job = _Job(grid, folder, embeddings, set(_existing(grid, folder)))
        with self._lock:
            self._check_free()
            grid.save(folder)
            self._jobs[grid_id] = job
            job.thread = threading.Thread(target=self._work, args=(job,), name="train-embedding comparison", daemon=True)
            started = comparison_of(grid_id, job.grid, frozenset(job.drawn))  # the thread may end, or its run be deleted, at once
            job.thread.start()
        return started

    def _notes(self, grid: Grid) -> tuple[Message, ...]:
        """Return what a person should know about a grid: another checkpoint, and prompts without the trigger word."""
        notes: list[Message] = []
        trained_on = self._runs.get(grid.run).checkpoint if grid.run else ""
        if trained_on and grid.checkpoint != trained_on:
            notes.append(
                msg("Generated with {loaded}; the run was trained on {trained}.", loaded=grid.checkpoint, trained=trained_on)
            )
        names = {row.embedding for row in grid.rows}
        texts = {prompt: f"{prompt}\n{grid.options.negative_prompt}" for prompt in grid.options.prompts}
        without = [prompt for prompt, text in texts.items() if "[name]" not in text and not any(name in text for name in names)]
        if without:
            notes.append(msg("All rows look the same for prompts without the trigger word: {prompts}.", prompts=joined(without)))
        return tuple(notes)

    def _work(self, job: _Job) -> None:
        """Draw the missing images, in a thread."""
        ended = replace(job.grid, status="finished")
        try:
            if any(key not in job.drawn for keys in job.grid.cell_keys() for key in keys):
                names = ", ".join(dict.fromkeys(row.embedding for row in job.grid.rows))
                with self._host.exclusive(f"Comparing {names}"):
                    ended = self._draw(job)
        except TrainEmbeddingError as error:
            ended = replace(job.grid, status="failed", error=error.message, hint=error.hint)
        except Exception as error:  # whatever the host's generator raises
            logger.exception("Drawing images to compare failed")
            failure = refusal_of(error)
            text = msg("The image could not be generated: {reason}", reason=str(error) or type(error).__name__)
            ended = replace(job.grid, status="failed", error=failure.message if failure else text)
        try:
            self._check_exists(job)
            ended.save(job.folder)
            _remove_old_images(job.folder, ended)
        except TrainEmbeddingError as error:
            logger.warning("The end of a comparison could not be written: %s", error)
        finally:
            with self._lock:  # only now, because the next grid may begin then, whose record must stay
                job.grid = ended

    def _draw(self, job: _Job) -> Grid:
        """Draw the missing images inside the host's queue, and return the grid with its final status."""
        grid, keys = job.grid, job.grid.cell_keys()
        cells = [(row, column) for row in range(len(keys)) for column in range(len(grid.options.prompts))]
        missing = [(row, column) for row, column in cells if keys[row][column] not in job.drawn]
        for done, (row, column) in enumerate(missing):
            if done:
                self._host.yield_queue()
            if job.stop.is_set() or self._host.interrupted():
                return replace(grid, status="stopped")
            if self._training_waits():
                note = msg("Stopped because a training run has started. Continue when it has ended.")
                return replace(grid, status="stopped", notes=(*grid.notes, note))
            if not check_same_checkpoint(grid, self._host.info()):
                raise HostFailed(msg("Another checkpoint was loaded."), msg("Load {name} again.", name=grid.checkpoint))
            embedding, prompt = job.embeddings[row], grid.options.prompts[column]
            key = keys[row][column]
            if key not in job.drawn:  # equal prompts have one image
                request = grid.options.request(prompt, embedding.name, (embedding,))
                image = self._host.txt2img(request)
                if self._host.interrupted():  # the image may be unfinished
                    return replace(grid, status="stopped")
                text = infotext(request, grid.checkpoint, grid.checkpoint_hash)
                self._check_exists(job)
                write_atomically(job.folder / f"{key}.png", with_infotext(encode_png(image), text))
                with self._lock:
                    job.drawn.add(key)
            text = msg("image {done} of {total}", done=done + 1, total=len(missing))
            self._host.report(Progress(done + 1, len(missing), text))
        return replace(grid, status="finished")

    def _check_exists(self, job: _Job) -> None:
        """Raise NotFound if the run of a grid was deleted meanwhile; writing would create its folder again."""
        if job.grid.run and not job.folder.parent.is_dir():
            raise no_such_run(job.grid.run)

    def _training_waits(self) -> bool:
        current = self._runs.current()
        return current is not None and current.active

    def _folder(self, grid_id: str) -> Path:
        if grid_id == EMBEDDINGS:
            return self._host.info().runs_folder.parent / EMBEDDINGS_FOLDER
        return self._runs.get(grid_id).folder / FOLDER

    def _grid(self, grid_id: str) -> Grid:
        grid = load_grid(self._folder(grid_id))
        if grid is None:
            raise NotFound(msg("No comparison images have been generated yet."), msg("Generate them first."))
        return grid

    def _step_in_use(self, state: RunState) -> int | None:
        """Return the step of a run whose vectors the embedding has now; None if it has others, or does not exist."""
        try:
            current = self._library.read(state.embedding)
            start = load_start(state)
        except TrainEmbeddingError:
            return None
        digest, before = digest_of(current), (start.step or 0) if start is not None else 0
        likely = [state.saved_step, state.best_step, (current.step or 0) - before, 0]
        kept = set(kept_steps(state))
        for step in dict.fromkeys(step for step in likely if step is not None and step in kept):
            with suppress(TrainEmbeddingError):
                if digest_of(read_step(state, step)) == digest:
                    return step
        return None


def _sheet_texts(comparison: Comparison, grid: Grid, translate: Callable[[Message], str]) -> list[str]:
    """Return the texts on a sheet: its title, the label of the dataset's images, and those of the rows."""
    title = grid.rows[0].embedding if grid.run else translate(msg("Embeddings"))
    labels = [row_label(comparison, row) for row in comparison.rows]
    texts = [translate(label) if isinstance(label, Message) else label for label in labels]
    return [title, translate(msg("Dataset")), *texts]


def _nothing_kept(state: RunState) -> NotFound:
    return NotFound(
        msg('No vectors of the run "{run}" were kept, so its steps cannot be compared.', run=state.id),
        msg("It ended before its first step, or its files were removed. Train again."),
    )


def _existing(grid: Grid, folder: Path) -> frozenset[str]:
    return frozenset(key for keys in grid.cell_keys() for key in keys if (folder / f"{key}.png").is_file())


def _remove_old_images(folder: Path, grid: Grid) -> None:
    """Remove the oldest images that a folder has from earlier grids, if there are too many."""
    keys = {key for keys in grid.cell_keys() for key in keys}
    try:
        files = [file for file in folder.glob("*.png") if _KEY.fullmatch(file.stem) and file.stem not in keys]
        files.sort(key=lambda file: file.stat().st_mtime_ns, reverse=True)
        for file in files[KEPT_IMAGES:]:
            remove_file(file, missing_ok=True)
    except OSError as error:
        logger.warning("Old images in %s cannot be removed: %s", folder, error)
