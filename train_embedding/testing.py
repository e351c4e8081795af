"""A host for tests and experiments, without a WebUI, which records the calls."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

from train_embedding.embeddings.formats import is_embedding_file, read_embedding
from train_embedding.errors import HostFailed, NotFound, UnreadableFile
from train_embedding.hosts.base import HostInfo, Interrogator, LoadedEmbeddings, Progress, Txt2ImgRequest
from train_embedding.hosts.fifo_lock import FifoLock
from train_embedding.messages import NOTHING, Message, msg, verbatim

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from train_embedding.engine.model.diffusion_model import DiffusionModel


class FakeHost:
    """A `hosts.base.Host` without a WebUI, which records the calls.

    Embeddings are in `folder`/embeddings, runs in `folder`/train_embedding/runs, caption templates in `folder`/templates. Like
    real hosts, it reads the embeddings folder only in `reload_embeddings`.

    Attributes:
        jobs: The jobs that have held the queue, in order.
        reports: The progress that was reported.
        requests: The images that were generated.
        reloads: Number of calls of `reload_embeddings`.
        busy: Whether a job holds the queue.
    """

    def __init__(
        self,
        folder: Path,
        widths: dict[str, int] | None = None,
        model: DiffusionModel | None = None,
        allowed_folders: tuple[Path, ...] | None = None,
    ) -> None:
        """Create the folders.

        Args:
            folder: The folder that contains them.
            widths: Widths of the checkpoint's text encoders; {} for no checkpoint, by default those of SD1.
            model: The model that `model()` lends; without it, `model()` raises HostFailed.
            allowed_folders: As `HostInfo.allowed_folders`.
        """
        self.runs_pickles = False
        "As `HostInfo.runs_pickles`."
        self.file_suffixes = HostInfo.file_suffixes
        "As `HostInfo.file_suffixes`."
        self.why_no_training: Message = NOTHING
        "As `HostInfo.why_no_training`."
        self.widths = {"clip_l": 768} if widths is None else widths
        self.the_model = model
        self.jobs: list[str] = []
        self.reports: list[Progress] = []
        self.requests: list[Txt2ImgRequest] = []
        self.reloads = 0
        self.busy = False
        self._folder = folder
        self._allowed_folders = allowed_folders
        self._queue = FifoLock()
        self._interrupt = threading.Event()
        for needed in ("embeddings", "train_embedding/runs", "templates"):
            (folder / needed).mkdir(parents=True, exist_ok=True)
        self._loaded = self._scan()

    def info(self) -> HostInfo:
        """Return facts about this host, according to its attributes."""
        return HostInfo(
            name="fake host",
            embeddings_folder=self._folder / "embeddings",
            runs_folder=self._folder / "train_embedding" / "runs",
            templates_folder=self._folder / "templates",
            checkpoint_name="fake" if self.widths else "",
            checkpoint_hash="0123456789" if self.widths else "",
            widths=dict(self.widths),
            resolution=64,
            why_no_training=self.why_no_training,
            file_suffixes=self.file_suffixes,
            allowed_folders=self._allowed_folders,
            runs_pickles=self.runs_pickles,
        )

    @contextmanager
    def model(self) -> Generator[DiffusionModel, None, None]:
        """Lend the model that was given to this host."""
        yield self._model()

    def token_embeddings(self, text: str, count: int | None = None) -> dict[str, torch.Tensor]:
        """Look up the token embeddings of a text in the model."""
        return self._model().token_embeddings(text, count)

    def vocabulary(self) -> dict[str, torch.Tensor]:
        """Return the model's token embeddings."""
        return self._model().vocabulary()

    @contextmanager
    def exclusive(self, job: str) -> Generator[None, None, None]:
        """Wait for the queue, hold it until exit, and record the job."""
        with self._queue.hold():
            self.jobs.append(job)
            self._interrupt.clear()
            self.busy = True
            try:
                yield
            finally:
                self.busy = False

    def report(self, progress: Progress) -> None:
        """Record the progress.

        Raises:
            HostFailed: No job holds the queue.
        """
        if not self.busy:
            raise HostFailed(verbatim("Progress was reported outside a job."))
        self.reports.append(progress)

    def yield_queue(self, release: Callable[[], object] = lambda: None) -> None:
        """Let waiting jobs run, then take the queue back."""
        if self._queue.has_waiters():
            release()
            self._queue.yield_to_waiters()
        self.busy = True

    def has_waiters(self) -> bool:
        """Return whether a job is waiting for the queue."""
        return self._queue.has_waiters()

    def press_interrupt(self) -> None:
        """Press the host's Interrupt button."""
        self._interrupt.set()

    def interrupted(self) -> bool:
        """Return whether `press_interrupt` was called since `exclusive` began."""
        return self._interrupt.is_set()

    def reload_embeddings(self) -> None:
        """Read the embeddings folder again, and count the call."""
        self.reloads += 1
        self._loaded = self._scan()

    def loaded_embeddings(self) -> LoadedEmbeddings:
        """Return what the last reload found."""
        return self._loaded

    def txt2img(self, request: Txt2ImgRequest) -> Image.Image:
        """Return an image of a single colour, which depends on the seed."""
        from PIL import Image

        if request.sampler != "Euler":
            raise HostFailed(msg('Unknown sampler "{name}".', name=request.sampler))
        self.requests.append(request)
        return Image.new("RGB", (request.width, request.height), tuple(request.seed * factor % 256 for factor in (37, 101, 167)))

    def interrogators(self) -> tuple[Interrogator, ...]:
        """Return one that tells the mean colour of an image, and one that cannot be used."""
        return (
            Interrogator("colour", verbatim("The mean colour")),
            Interrogator("missing", verbatim("A model"), verbatim("Its model has not been downloaded.")),
        )

    @contextmanager
    def interrogate(self, name: str) -> Generator[Callable[[Image.Image], str], None, None]:
        """Return what tells the mean colour of an image, such as "12 200 31"."""
        if name != "colour":
            raise HostFailed(verbatim(f'The interrogator "{name}" cannot be used.'))
        if not self.busy:
            raise HostFailed(verbatim("An image was described outside a job."))
        yield lambda image: " ".join(str(value) for value in cast("tuple[int, ...]", image.resize((1, 1)).getpixel((0, 0))))

    def _model(self) -> DiffusionModel:
        if self.the_model is None:
            raise HostFailed(msg("No checkpoint is loaded."), msg("Load a checkpoint first."))
        return self.the_model

    def _scan(self) -> LoadedEmbeddings:
        names: set[str] = set()
        left_out: dict[str, Message] = {}
        for path in filter(is_embedding_file, sorted((self._folder / "embeddings").rglob("*"))):
            try:
                embedding = read_embedding(path)
            except (UnreadableFile, NotFound) as error:
                left_out[path.stem] = error.message
                continue
            if embedding.widths == self.widths:
                names.add(path.stem)
            else:
                left_out[path.stem] = msg("Its vectors are for {family}.", family=embedding.family)
        return LoadedEmbeddings(frozenset(names), left_out)
