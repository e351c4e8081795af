"""Previews of a run: pictures that the host draws with the vectors of a step, the same prompts and seed each time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.storage import write_atomically
from train_embedding.engine.config.spec import ResolvedSpec
from train_embedding.hosts.base import Host, Txt2ImgRequest
from train_embedding.images.png import encode_png
from train_embedding.services.training.run_log import RunLog

if TYPE_CHECKING:
    from PIL import Image

logger = logging.getLogger(__name__)


class Previews:
    """Inside the host's queue.

    stopping: whether the run is to end; the host may then have broken off in the middle of a picture.
    """

    def __init__(self, host: Host, resolved: ResolvedSpec, run_folder: Path, log: RunLog, stopping: Callable[[], bool]) -> None:
        self._host = host
        self._resolved = resolved
        self._folder = run_folder / "previews"
        self._log = log
        self._stopping = stopping
        self.problems: tuple[str, ...] = ()
        "A sentence, once a preview has failed; then no more are drawn."

    def draw(self, step: int, embedding: Embedding) -> Iterator[Path]:
        """Draws one picture per prompt and yields their files as they are written. Raises StorageFailed."""
        prompts = self._resolved.spec.preview_prompts()
        for number, (prompt, file) in enumerate(zip(prompts, self.files(step), strict=True)):
            picture = self._picture(step, prompt, embedding)
            if picture is None:
                return
            write_atomically(file, encode_png(picture))
            self._log.picture(f"preview {number + 1}", picture, step)
            yield file

    def files(self, step: int) -> list[Path]:
        """Where the previews of a step go, one per prompt."""
        count = len(self._resolved.spec.preview_prompts())
        return [self._folder / (f"{step:07d}-{number + 1}.png" if number else f"{step:07d}.png") for number in range(count)]

    def _picture(self, step: int, prompt: str, embedding: Embedding) -> Image.Image | None:
        """None where none is wanted any more."""
        if self.problems or self._stopping():
            return None
        spec = self._resolved.spec
        request = Txt2ImgRequest(
            prompt=prompt.replace("[name]", spec.embedding),
            negative_prompt=spec.preview_negative_prompt.replace("[name]", spec.embedding),
            steps=spec.preview_steps,
            guidance=spec.preview_guidance,
            seed=spec.preview_seed,
            width=self._resolved.width,
            height=self._resolved.height,
            embeddings=(embedding,),
        )
        try:
            picture = self._host.txt2img(request)
        except Exception as error:  # whatever the host's generator raises: the training matters more than its pictures
            logger.exception("The preview at step %d failed", step)
            self.problems = (f"The preview at step {step} failed, so no more are drawn: {error or type(error).__name__}",)
            return None
        return None if self._stopping() else picture
