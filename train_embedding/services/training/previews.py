"""Previews of a run: images generated from the vectors of a step, with the same prompts and seed each time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.storage import write_atomically
from train_embedding.engine.config.spec import ResolvedSpec
from train_embedding.errors import TrainEmbeddingError
from train_embedding.hosts.base import Host, Txt2ImgRequest
from train_embedding.images.png import encode_png
from train_embedding.messages import Message, msg
from train_embedding.services.infotext import infotext, with_infotext
from train_embedding.services.run_records import preview_request
from train_embedding.services.training.run_log import RunLog

if TYPE_CHECKING:
    from PIL import Image

logger = logging.getLogger(__name__)


class Previews:
    """Generates the previews of one run, inside the host's queue.

    Args:
        host: The host that generates the images.
        resolved: The run's spec.
        run_folder: The folder of the run; previews are written to a subfolder.
        log: The log that the images are added to.
        stopping: Returns whether the run is about to end; the host may then have interrupted an image halfway.
        release: Called before each image, to free memory for it.
    """

    def __init__(
        self,
        host: Host,
        resolved: ResolvedSpec,
        run_folder: Path,
        log: RunLog,
        stopping: Callable[[], bool],
        release: Callable[[], object],
    ) -> None:
        self._host = host
        self._resolved = resolved
        self._folder = run_folder / "previews"
        self._log = log
        self._stopping = stopping
        self._release = release
        self.problems: tuple[Message, ...] = ()
        "One sentence once a preview has failed; no more are generated after that."

    def generate(self, step: int, embedding: Embedding) -> Iterator[Path]:
        """Generate one image per prompt and yield each file once it is written.

        Raises:
            StorageFailed: A file cannot be written.
        """
        prompts = self._resolved.spec.preview_prompts()
        info = self._host.info()
        for number, (prompt, file) in enumerate(zip(prompts, self.files(step), strict=True)):
            request = self._request(prompt, embedding)
            image = self._generate_one(step, request)
            if image is None:
                return
            write_atomically(
                file, with_infotext(encode_png(image), infotext(request, info.checkpoint_name, info.checkpoint_hash))
            )
            self._log.image(f"preview {number + 1}", image, step)
            yield file

    def files(self, step: int) -> list[Path]:
        """Return the files of a step's previews, one per prompt."""
        count = len(self._resolved.spec.preview_prompts())
        return [self._folder / (f"{step:07d}-{number + 1}.png" if number else f"{step:07d}.png") for number in range(count)]

    def _request(self, prompt: str, embedding: Embedding) -> Txt2ImgRequest:
        size = self._resolved.width, self._resolved.height
        return replace(preview_request(self._resolved.spec, prompt, *size), embeddings=(embedding,))

    def _generate_one(self, step: int, request: Txt2ImgRequest) -> Image.Image | None:
        """Generate an image; None if the run is about to end or a preview has failed."""
        if self.problems or self._stopping():
            return None
        self._release()
        try:
            image = self._host.txt2img(request)
        except Exception as error:  # whatever the host's generator raises: training goes on without previews
            logger.exception("The preview at step %d failed", step)
            reason = error.text if isinstance(error, TrainEmbeddingError) else str(error) or type(error).__name__
            self.problems = (
                msg("The preview at step {step} failed, so no more are generated: {reason}", step=step, reason=reason),
            )
            return None
        return None if self._stopping() else image
