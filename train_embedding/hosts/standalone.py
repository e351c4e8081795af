"""The host where there is none: a data folder, one checkpoint, and pictures drawn by the engine."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.formats import is_embedding_file, read_embedding
from train_embedding.embeddings.storage import storage_failed
from train_embedding.errors import HostFailed, NotFound, UnreadableFile
from train_embedding.hosts.base import EmbeddingFile, HostInfo, LoadedEmbeddings, Progress, Txt2ImgRequest
from train_embedding.hosts.fifo_lock import Turns

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from train_embedding.engine.model.diffusion_model import DiffusionModel

logger = logging.getLogger(__name__)

DEMO_CHECKPOINT = Path(__file__).parents[1] / "demo" / "checkpoint" / "demo.safetensors"


class StandaloneHost:
    """Embeddings in data_folder/embeddings, runs in data_folder/runs, caption templates in data_folder/templates.

    checkpoint: a file or a diffusers folder; None for the demo checkpoint. It is read when first needed and kept. Like a WebUI,
    it knows of the embeddings folder what it saw at the last `reload_embeddings`. Of several processes on a machine each takes
    the GPU of its number, which launchers give in LOCAL_RANK.
    Raises StorageFailed where the data folder cannot be made.
    """

    def __init__(
        self, data_folder: Path, checkpoint: Path | None = None, allowed_folders: tuple[Path, ...] | None = None
    ) -> None:
        self._data = data_folder.resolve()
        self._checkpoint = (checkpoint or DEMO_CHECKPOINT).resolve()
        self._allowed = allowed_folders
        self._model: DiffusionModel | None = None
        self._hash = ""
        self.known_files: Callable[[], Iterable[EmbeddingFile]] | None = None
        """Tells what the files of the embeddings folder hold, in the order in which a WebUI walks. With it a reload opens none of
        them; vectors are read when something is drawn."""
        self._embeddings: dict[str, Embedding | Path] | None = None
        self._left_out: dict[str, str] = {}
        self._turns = Turns()
        self._lock = threading.RLock()
        self._reloading = threading.Lock()
        self.progress: Progress | None = None
        for folder in (self._data / name for name in ("embeddings", "runs", "templates")):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise storage_failed(folder, error) from error

    def info(self) -> HostInfo:
        from train_embedding import __version__

        model = self._loaded_model()
        return HostInfo(
            name=f"Train Embedding {__version__}",
            embeddings_folder=self._data / "embeddings",
            runs_folder=self._data / "runs",
            templates_folder=self._data / "templates",
            checkpoint_name=self._checkpoint.stem,
            checkpoint_hash=self._hash,
            widths=model.widths,
            device=str(model.device),
            dtype=str(model.dtype).removeprefix("torch."),
            resolution=model.resolution,
            allowed_folders=self._allowed,
            extra_networks=False,
        )

    @contextmanager
    def model(self) -> Iterator[DiffusionModel]:
        yield self._loaded_model()

    def token_embeddings(self, text: str, count: int | None = None) -> dict[str, torch.Tensor]:
        return self._loaded_model().token_embeddings(text, count)

    def vocabulary(self) -> dict[str, torch.Tensor]:
        return self._loaded_model().vocabulary()

    @contextmanager
    def exclusive(self, job: str) -> Iterator[None]:
        with self._turns.turn():
            self.progress = Progress(0, 0, job)
            try:
                yield
            finally:
                self.progress = None

    def give_way(self) -> None:
        """The checkpoint of this host never changes."""
        kept = self.progress
        self._turns.give_way()
        self.progress = kept

    def report(self, progress: Progress) -> None:
        self.progress = progress

    def interrupted(self) -> bool:
        """Never: there is no button but the run's own."""
        return False

    def reload_embeddings(self) -> None:
        with self._reloading:  # or the result of a slow one would take the place of a later one's
            self._reload_embeddings()

    def _reload_embeddings(self) -> None:
        from train_embedding.embeddings.text_encoders import CHUNK, does_not_fit

        widths = self._loaded_model().widths
        found: dict[str, Embedding | Path] = {}
        left_out: dict[str, str] = {}
        known = ((file, file.path) for file in self.known_files()) if self.known_files else self._read_files()
        for file, embedding in known:
            name = file.path.stem
            if file.problem:
                left_out[name] = file.problem
            elif file.widths != widths:
                left_out[name] = does_not_fit(name, file.widths, widths)
            elif file.vectors > CHUNK:
                left_out[name] = f"It has {file.vectors} vectors; a prompt takes at most {CHUNK}."
            else:
                found[name] = embedding
        with self._lock:
            self._embeddings, self._left_out = found, left_out

    def _read_files(self) -> Iterator[tuple[EmbeddingFile, Embedding | Path]]:
        for root, _folders, files in os.walk(self._data / "embeddings"):
            for path in (Path(root) / file for file in files):
                if not is_embedding_file(path):
                    continue
                try:
                    embedding = read_embedding(path)
                    yield EmbeddingFile(path, embedding.widths, embedding.count), embedding
                except (UnreadableFile, NotFound) as error:
                    yield EmbeddingFile(path, {}, 0, error.message), path

    def loaded_embeddings(self) -> LoadedEmbeddings:
        return LoadedEmbeddings(frozenset(self._known_embeddings()), dict(self._left_out))

    def txt2img(self, request: Txt2ImgRequest) -> Image.Image:
        from train_embedding.engine.sampling import decode_to_images, draw_latents

        if request.sampler != "Euler":
            raise HostFailed(f'There is no sampler "{request.sampler}".', "Without a WebUI, Euler is the only one.")
        embeddings = self._current_embeddings() | {embedding.name: embedding for embedding in request.embeddings}
        model = self._loaded_model()
        latents = draw_latents(
            model,
            [request.prompt],
            [request.seed],
            negative_prompt=request.negative_prompt,
            steps=request.steps,
            guidance=request.guidance,
            width=request.width // 8 * 8,
            height=request.height // 8 * 8,
            embeddings=list(embeddings.values()),
        )
        return decode_to_images(model, latents)[0]

    def _known_embeddings(self) -> dict[str, Embedding | Path]:
        with self._lock:
            if self._embeddings is None:
                self.reload_embeddings()
            return dict(self._embeddings or {})

    def _current_embeddings(self) -> dict[str, Embedding]:
        """With their vectors, which are read now where that was not done yet."""
        known = self._known_embeddings()
        read: dict[str, Embedding] = {}
        for name, embedding in known.items():
            try:
                read[name] = read_embedding(embedding) if isinstance(embedding, Path) else embedding
            except (UnreadableFile, NotFound) as error:
                logger.warning("The embedding %s is left out of the picture: %s", name, error)
        with self._lock:
            if self._embeddings is not None and self._embeddings.keys() == known.keys():
                self._embeddings = {**self._embeddings, **read}
        return read

    def _loaded_model(self) -> DiffusionModel:
        with self._lock:
            if self._model is None:
                import torch

                from train_embedding.engine.loading.checkpoint import load_checkpoint

                device = _own_device()
                dtype = torch.float32 if device == "cpu" else torch.float16
                self._hash = _short_hash(self._checkpoint)
                self._model = load_checkpoint(self._checkpoint, device=device, dtype=dtype)
            return self._model


def _own_device() -> str:
    """The GPU of this process, where there is one; it is also what this thread means by "cuda" from then on."""
    import torch

    if not torch.cuda.is_available():
        return "cpu"
    number = int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count()
    torch.cuda.set_device(number)
    return f"cuda:{number}"


def _short_hash(checkpoint: Path) -> str:
    """The first 10 digits of the file's SHA-256, as the WebUI shows it; empty for a folder."""
    import hashlib

    if not checkpoint.is_file():
        return ""
    digest = hashlib.sha256()
    with checkpoint.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()[:10]
