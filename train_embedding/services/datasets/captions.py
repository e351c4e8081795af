"""Captions of a dataset: read, written and changed together, with undo."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from train_embedding.embeddings.regular_files import read_regular_file
from train_embedding.errors import InvalidInput, UnreadableFile
from train_embedding.messages import NOTHING, Message, msg, plural
from train_embedding.services.datasets.checks import CheckedImage
from train_embedding.services.datasets.contents import Contents
from train_embedding.services.datasets.history import History, Subject

UNDO = "captions-undo"
"The subfolder with the changes that can be undone, a JSON file each."
MAX_CAPTION = 10_000
"Largest number of characters of a caption."
TOKEN_LIMIT = 75
"Tokens of a prompt without its start and end."


@dataclass(frozen=True)
class CaptionEdit:
    """A change of many captions. Parts are applied in this order; empty ones change nothing."""

    remove_tag: str = ""
    "A tag, the text between two commas, that is removed."
    find: str = ""
    replace: str = ""
    prefix: str = ""
    'Put in front, for example "my-cat, "; captions that begin with it already are left unchanged.'
    suffix: str = ""
    "Put at the end; captions that end with it already are left unchanged."

    @property
    def is_empty(self) -> bool:
        """Whether it changes nothing."""
        return not (self.remove_tag.strip() or self.find or self.prefix or self.suffix)

    def apply(self, caption: str) -> str:
        """Return a caption after the change."""
        from train_embedding.engine.prompts.attention_syntax import split_at_commas

        if removed := self.remove_tag.strip().casefold():
            tags = split_at_commas(caption)
            kept = [tag for tag in tags if tag.strip().casefold() != removed]
            if len(kept) != len(tags):
                caption = ", ".join(tag.strip() for tag in kept if tag.strip())
        if not caption:
            return " ".join((self.prefix + self.suffix).strip(" ,").split())
        if self.find:
            caption = caption.replace(self.find, self.replace)
        if self.prefix and not caption.startswith(self.prefix):
            caption = self.prefix + caption
        if self.suffix and not caption.endswith(self.suffix):
            caption += self.suffix
        return " ".join(caption.split())


@dataclass(frozen=True)
class CaptionsChanged:
    """The outcome of a change of captions."""

    files: tuple[str, ...]
    "Names of the caption files that changed."
    without: int = 0
    "Number of images without a caption file, which were left unchanged."
    note: Message = NOTHING

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, as the API answers them."""
        return {"changed": len(self.files), "files": list(self.files), "without_caption": self.without, "note": self.note or None}


@dataclass(frozen=True)
class ImageCaption:
    """The caption of an image."""

    name: str
    "Of the image."
    caption: str
    "What [filewords] stands for."
    has_file: bool
    "Whether it is from a caption file instead of the file name."
    tokens: int
    "Out of 75."

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, as the API answers them."""
        return {"image": self.name, "caption": self.caption, "from_file": self.has_file, "tokens": self.tokens}


@dataclass(frozen=True)
class Generated:
    """A caption that was generated for an image."""

    image: CheckedImage
    caption: str
    before: bytes | None
    "Content of the caption file that the caption was made for; None if there was none."


class CaptionEditor:
    """Changes caption files, as `.txt` files in UTF-8. Each change is made completely or not at all, and can be undone.

    Args:
        contents: Makes the changes.
    """

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._history = History(contents, _SUBJECT)

    def write(self, folder: Path, image: CheckedImage, text: str) -> CaptionsChanged:
        """Write the caption of an image; an empty one is kept as an empty file.

        Raises:
            InvalidInput: The text is too long, or training could not read it as a prompt.
            StorageFailed: The file cannot be written.
        """
        from train_embedding.engine.data.captions import caption_path

        caption = checked_caption(text)
        return self._change(folder, {caption_path(image.file): caption})

    def content(self, image: CheckedImage) -> bytes | None:
        """Return the content of an image's caption file; None if there is none. Raises UnreadableFile."""
        from train_embedding.engine.data.captions import caption_path

        return _content(caption_path(image.file))

    def write_generated(self, folder: Path, generated: Sequence[Generated], change: int = 0) -> tuple[int, list[str]]:
        """Write captions that were generated, except where a caption file was changed meanwhile.

        Args:
            folder: The dataset.
            generated: The captions.
            change: Number of the change that these belong to, so that one undo brings all files back; 0 begins a change.

        Returns:
            The number of the change, and the names of the images that were left out.

        Raises:
            StorageFailed: The files cannot be written; none has changed.
        """
        from train_embedding.engine.data.captions import caption_path

        with self._contents.change(folder) as journal:
            before = {caption_path(one.image.file): _content(caption_path(one.image.file)) for one in generated}
            kept = [one for one in generated if before[caption_path(one.image.file)] == one.before]
            after: dict[Path, bytes | None] = {caption_path(one.image.file): one.caption.encode() for one in kept}
            after = {file: content for file, content in after.items() if content != before[file]}
            if after:
                record = {file: (before[file], content) for file, content in after.items()}
                change = self._history.remember(folder, record, journal, after, change)
        return change, [one.image.name for one in generated if one not in kept]

    def edit(self, folder: Path, images: Sequence[CheckedImage], edit: CaptionEdit, create: bool = False) -> CaptionsChanged:
        """Change the captions of images.

        Args:
            folder: The dataset.
            images: The images.
            edit: The change.
            create: Whether to also write captions for images that have none, as if theirs were empty.

        Raises:
            InvalidInput: The change is empty, or a caption would become one that training cannot read.
            StorageFailed: The files cannot be written; nothing has changed.
        """
        from train_embedding.engine.data.captions import caption_path

        if edit.is_empty:
            raise InvalidInput(msg("No change of the captions is given."))
        wanted: dict[Path, str] = {}
        without = sum(not image.has_caption_file for image in images)
        for image in images:
            if not image.has_caption_file and not create:
                continue
            before = image.caption if image.has_caption_file else ""
            after = edit.apply(before)
            if after != before:
                wanted[caption_path(image.file)] = checked_caption(after, image.name)
        changed = self._change(folder, wanted)
        return CaptionsChanged(changed.files, 0 if create else without, _left_out(0 if create else without))

    def undo(self, folder: Path) -> CaptionsChanged:
        """Undo the last change of captions. Files that were changed by others since are left as they are.

        Raises:
            NotFound: There is nothing to undo.
            Conflict: All files were changed since.
            StorageFailed: The files cannot be written; nothing has changed.
        """
        undone = self._history.undo(folder)
        return CaptionsChanged(tuple(file.name for file in undone.files), note=undone.note)

    def can_undo(self, folder: Path) -> int:
        """Return the number of changes that can be undone."""
        return self._history.count(folder)

    def _change(self, folder: Path, wanted: Mapping[Path, str]) -> CaptionsChanged:
        """Write captions, and remember how the files were."""
        changed = self._history.change(folder, lambda: {file: text.encode() for file, text in wanted.items()})
        return CaptionsChanged(tuple(file.name for file in changed))


def checked_caption(text: str, image: str = "") -> str:
    """Return a caption as it is written to its file: one line, without spaces around it.

    Args:
        text: The caption.
        image: The image, which an error names.

    Raises:
        InvalidInput: It is too long, or training could not read it as a prompt.
    """
    from train_embedding.engine.prompts.attention_syntax import parse_attention
    from train_embedding.engine.prompts.wildcards import check_alternatives

    caption = " ".join(text.split())
    try:
        caption.encode()
        if len(caption) > MAX_CAPTION:
            raise InvalidInput(
                msg("The caption has {length} characters; at most {limit} are allowed.", length=len(caption), limit=MAX_CAPTION)
            )
        if "\0" in caption:
            raise InvalidInput(msg("The caption contains a character that no text has."))
        check_alternatives(caption)
        parse_attention(caption)
    except UnicodeEncodeError as error:
        raise InvalidInput(msg("The caption contains bytes that are not characters.")) from error
    except InvalidInput as error:
        if not image:
            raise
        raise InvalidInput(msg('The caption of "{image}": {problem}', image=image, problem=error.message), error.hint) from error
    return caption


def tag_counts(images: Sequence[CheckedImage]) -> list[tuple[str, int]]:
    """Return the tags of all captions from files, the most frequent first, and the number of images that have each."""
    from train_embedding.engine.prompts.attention_syntax import split_at_commas

    counts: Counter[str] = Counter()
    for image in images:
        if image.has_caption_file:
            counts.update({tag.strip() for tag in split_at_commas(image.caption) if tag.strip()})
    return sorted(counts.items(), key=lambda item: (-item[1], item[0].casefold(), item[0]))


def count_tokens(caption: str) -> int:
    """Return the number of tokens of a caption, without start and end; weights such as `(red:1.2)` count as their words."""
    from train_embedding.engine.prompts.attention_syntax import parse_attention
    from train_embedding.engine.prompts.tokenizer import token_ids

    return sum(len(token_ids(text)) for text, _weight in parse_attention(caption))


def caption_use(template: Sequence[str]) -> Message:
    """Say whether caption lines use the captions of images at all."""
    using = sum("[filewords]" in line for line in template)
    if not template:
        return NOTHING
    if not using:
        return msg("The caption lines of the run do not contain [filewords], so training does not use these captions.")
    if using == len(template):
        return msg("All caption lines of the run contain [filewords], so training uses these captions in every step.")
    return msg(
        "{using} of {total} caption lines of the run contain [filewords]; training uses these captions with them.",
        using=using,
        total=len(template),
    )


def _left_out(without: int) -> Message:
    if not without:
        return NOTHING
    return plural(
        "{count} image has no caption file, and was left out.", "{count} images have no caption file, and were left out.", without
    )


def _content(file: Path) -> bytes | None:
    """Return the content of a caption file; None if there is none. Raises UnreadableFile."""
    from train_embedding.engine.data.captions import MAX_CAPTION_BYTES
    from train_embedding.engine.data.file_names import displayable

    name = displayable(file.name)
    try:
        data = read_regular_file(file, MAX_CAPTION_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UnreadableFile(
            msg('The caption file "{file}" cannot be read: {reason}.', file=name, reason=error.strerror or error)
        ) from error
    if len(data) > MAX_CAPTION_BYTES:
        raise UnreadableFile(
            msg('The caption file "{file}" is larger than {most} KB.', file=name, most=MAX_CAPTION_BYTES // 1024)
        )
    return data


def _is_caption(name: str) -> bool:
    return name.endswith(".txt")


_SUBJECT = Subject(
    UNDO,
    _is_caption,
    _content,
    nothing=msg("There is no change of captions to undo."),
    changed=msg("The captions have been changed since, so nothing was undone."),
)
