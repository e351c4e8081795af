"""Generating the captions of a dataset: a job in the host's queue, with progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from train_embedding.engine.captioning import CaptionOptions
from train_embedding.errors import InvalidInput, TrainEmbeddingError, TrainingFailed, UnreadableFile
from train_embedding.hosts.base import Host, Progress
from train_embedding.messages import Message, msg
from train_embedding.services.datasets.background_jobs import BackgroundJobs, ImageJob, Stopped
from train_embedding.services.datasets.captions import CaptionEditor, Generated, checked_caption
from train_embedding.services.datasets.checks import CheckedImage

if TYPE_CHECKING:
    from PIL import Image

Existing = Literal["keep", "append", "replace"]
Describe = Callable[["Image.Image"], str]

SIDE = 1024
"Largest side of the images that are described, in pixels; models reduce them to 224 to 768."
SAVE_SECONDS = 10.0
"Captions are written at least this often, so that a killed process loses little."
CONTINUE = msg("What was generated is kept. Generate captions again for the rest.")
CHANGED = msg("Its caption was changed in the meantime and has been kept.")


@dataclass(frozen=True)
class CaptionRequest:
    """How the captions of a dataset are generated.

    Attributes:
        interrogator: Name of a host's interrogator; empty if a model folder is given.
        model_folder: Folder of a caption model.
        existing: What happens to images that have a caption file: they keep it, the new caption is put at its end, or it is
            replaced.
        prefix: Put in front of each new caption, for example "my-cat, ".
        options: How the model of a folder generates captions.
    """

    interrogator: str = ""
    model_folder: Path | None = None
    existing: Existing = "keep"
    prefix: str = ""
    options: CaptionOptions = field(default_factory=CaptionOptions)

    def check(self) -> None:
        """Raises InvalidInput."""
        if bool(self.interrogator) == bool(self.model_folder):
            raise InvalidInput(msg("Give either an interrogator or the folder of a caption model."))
        if self.existing not in get_args(Existing):
            raise InvalidInput(msg('"{value}" is not one of keep, append and replace.', value=self.existing))
        checked_caption(self.prefix)


@dataclass(frozen=True)
class CaptionJob(ImageJob):
    """The state of a job."""

    written: int = 0
    "Number of captions that were written."
    kept: int = 0
    "Number of images that keep the caption they have."
    skipped: tuple[tuple[str, Message], ...] = ()
    "Images without a new caption, with the reasons."
    last: tuple[str, str] = ("", "")
    "The image that was described last, and its caption."

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, as the API answers them."""
        return {
            "folder": str(self.folder),
            "status": self.status,
            "images": self.images,
            "done": self.done,
            "written": self.written,
            "kept": self.kept,
            "skipped": [{"image": name, "reason": reason} for name, reason in self.skipped],
            "last": {"image": self.last[0], "caption": self.last[1]} if self.last[0] else None,
            "error": self.problem or None,
            "hint": self.hint or None,
        }


@dataclass(frozen=True)
class _Task:
    """An image to describe."""

    image: CheckedImage
    before: bytes | None
    "Content of its caption file when the job was started; None if there was none."


class AutoCaptions(BackgroundJobs[CaptionJob]):
    """Generates captions, for one dataset at a time. Safe to use from any thread.

    A job that is stopped keeps what it has generated.

    Args:
        host: The host, whose queue the job waits for.
        editor: Writes the captions.
    """

    def __init__(self, host: Host, editor: CaptionEditor) -> None:
        super().__init__()
        self._host = host
        self._editor = editor

    def start(self, folder: Path, images: Sequence[CheckedImage], request: CaptionRequest) -> CaptionJob:
        """Start a job in a thread.

        Args:
            folder: The dataset.
            images: Its images to describe; those that cannot be read are left out.
            request: How.

        Raises:
            InvalidInput: The request is not valid.
            Conflict: Another job is active.
        """
        request.check()
        used = [image for image in images if not image.problem]
        wanted = [image for image in used if request.existing != "keep" or not image.has_caption_file]
        tasks, unreadable = self._tasks(wanted)
        kept = len(used) - len(wanted)
        return self._begin(
            CaptionJob(folder, "waiting", len(wanted), len(unreadable), kept=kept, skipped=tuple(unreadable)),
            lambda: self._describe_in_turn(folder, tasks, request),
            busy=lambda name: msg('Captions for "{folder}" are being generated.', folder=name),
            failed=lambda error: msg("Generating captions failed: {reason}", reason=error),
        )

    def _tasks(self, images: Sequence[CheckedImage]) -> tuple[list[_Task], list[tuple[str, Message]]]:
        """Read the caption files of images, and return them with the images whose caption file cannot be read and why."""
        tasks: list[_Task] = []
        unreadable: list[tuple[str, Message]] = []
        for image in images:
            try:
                tasks.append(_Task(image, self._editor.content(image)))
            except UnreadableFile as error:
                unreadable.append((image.name, error.message))
        return tasks, unreadable

    def _describe_in_turn(self, folder: Path, tasks: Sequence[_Task], request: CaptionRequest) -> None:
        if tasks:
            with self._host.exclusive(f"Captioning {folder.name}"):
                self._describe_all(folder, tasks, request)
        if self._stopping:
            raise Stopped

    def _describe_all(self, folder: Path, tasks: Sequence[_Task], request: CaptionRequest) -> None:
        from train_embedding.engine.data.image import read_image

        self._update(status="loading")
        writer = _Writer(self._editor, folder, self._wrote)
        with _opened(self._host, request) as describe, writer.saving():
            self._update(status="running")
            for number, task in enumerate(tasks):
                if self._stopping:
                    return
                if self._host.interrupted():
                    self.stop()
                    host = self._host.info().name
                    stopped = msg("The Interrupt or Interrogate button of {host} has stopped the captions.", host=host)
                    self._update(problem=stopped, hint=CONTINUE)
                    return
                self._host.report(Progress(number, len(tasks), f"Caption {number + 1} of {len(tasks)}"))
                self._host.yield_queue()
                image = task.image
                try:
                    if self._editor.content(image) != task.before:
                        self._skip(image.name, CHANGED)
                        continue
                    caption = new_caption(describe(read_image(image.file, SIDE, image.crop)), image, request)
                except TrainEmbeddingError as error:
                    self._skip(image.name, error.message)
                    continue
                self._described(image.name, caption)
                writer.add(Generated(image, caption, task.before))

    def _described(self, image: str, caption: str) -> None:
        self._change(lambda job: replace(job, done=job.done + 1, last=(image, caption)))

    def _wrote(self, count: int, left: Sequence[str]) -> None:
        changed = tuple((name, CHANGED) for name in left)
        self._change(lambda job: replace(job, written=job.written + count, skipped=(*job.skipped, *changed)))

    def _skip(self, image: str, reason: Message) -> None:
        self._change(lambda job: replace(job, done=job.done + 1, skipped=(*job.skipped, (image, reason))))


@dataclass
class _Writer:
    """Writes captions every few seconds as one change, which one undo takes back."""

    editor: CaptionEditor
    folder: Path
    wrote: Callable[[int, Sequence[str]], None]
    change: int = 0
    waiting: list[Generated] = field(default_factory=list[Generated])
    saved: float = field(default_factory=time.monotonic)

    def add(self, generated: Generated) -> None:
        self.waiting.append(generated)
        if time.monotonic() - self.saved >= SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        waiting, self.waiting = self.waiting, []
        if waiting:
            self.change, left = self.editor.write_generated(self.folder, waiting, self.change)
            self.wrote(len(waiting) - len(left), left)
        self.saved = time.monotonic()

    @contextmanager
    def saving(self) -> Generator[None, None, None]:
        """Write what is left on exit, also after an error."""
        try:
            yield
        finally:
            self.save()


def _opened(host: Host, request: CaptionRequest) -> AbstractContextManager[Describe]:
    if request.model_folder is None:
        return host.interrogate(request.interrogator)
    return _opened_folder(request.model_folder, host.info().device, request)


@contextmanager
def _opened_folder(folder: Path, device: str, request: CaptionRequest) -> Generator[Describe, None, None]:
    from train_embedding.engine.captioning import open_caption_model

    model = open_caption_model(folder, device, request.options)

    def describe(image: Image.Image) -> str:
        try:
            return model.describe(image)
        except (RuntimeError, ValueError, IndexError) as error:
            raise TrainingFailed(msg("The caption model failed: {reason}", reason=error)) from error

    yield describe


def new_caption(text: str, image: CheckedImage, request: CaptionRequest) -> str:
    """Return the caption of an image from what a model says of it.

    Args:
        text: What the model says.
        image: The image, with its present caption.
        request: How captions are generated.

    Raises:
        InvalidInput: The model said nothing, or the caption would be too long.
    """
    from train_embedding.engine.prompts.wildcards import escape_alternatives

    said = " ".join(text.split()).strip(" ,")
    if not said:
        raise InvalidInput(msg("The model returned no description."))
    try:
        checked_caption(said)
    except InvalidInput:  # braces that would be wildcards
        said = escape_alternatives(said)
    if request.existing == "append" and image.has_caption_file and image.caption:
        present = image.caption.rstrip(" ,")
        return checked_caption(f"{present}, {said}", image.name)
    return checked_caption(request.prefix + said, image.name)
