"""Captions of a dataset: read, written and changed together, with undo."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from train_embedding.embeddings.regular_files import read_regular_file
from train_embedding.embeddings.storage import remove_file, storage_failed, write_atomically
from train_embedding.errors import Conflict, InvalidInput, NotFound, StorageFailed, UnreadableFile
from train_embedding.messages import NOTHING, Message, msg, plural
from train_embedding.services.datasets.checks import CheckedImage
from train_embedding.services.datasets.contents import Contents
from train_embedding.services.store.transaction import Change, Journal

UNDO = "captions-undo"
"The subfolder with the changes that can be undone, a JSON file each."
MAX_UNDO = 20
"Number of changes that can be undone."
MAX_UNDO_BYTES = 256 * 2**20
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


class CaptionEditor:
    """Changes caption files, as `.txt` files in UTF-8. Each change is made completely or not at all, and can be undone.

    Args:
        contents: Makes the changes.
    """

    def __init__(self, contents: Contents) -> None:
        self._contents = contents

    def write(self, folder: Path, image: CheckedImage, text: str) -> CaptionsChanged:
        """Write the caption of an image; an empty one is kept as an empty file.

        Raises:
            InvalidInput: The text is too long, or training could not read it as a prompt.
            StorageFailed: The file cannot be written.
        """
        from train_embedding.engine.data.captions import caption_path

        caption = checked_caption(text)
        return self._change(folder, {caption_path(image.file): caption})

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
        with self._contents.change(folder) as journal:
            records = self._records(folder)
            if not records:
                raise NotFound(msg("There is no change of captions to undo."))
            record = _read_record(records[-1], folder)
            restored = {file: before for file, (before, after) in record.items() if _content(file) == after}
            changed = len(record) - len(restored)
            if restored:
                journal.commit(_change_to(restored))
            try:
                remove_file(records[-1], missing_ok=True)
            except OSError as error:
                raise storage_failed(records[-1], error, "deleted") from error
        if record and not restored:
            raise Conflict(msg("The captions have been changed since, so nothing was undone."))
        note = plural(
            "{count} file was changed since, and is left as it is.",
            "{count} files were changed since, and are left as they are.",
            changed,
        )
        return CaptionsChanged(tuple(file.name for file in restored), note=note if changed else NOTHING)

    def can_undo(self, folder: Path) -> int:
        """Return the number of changes that can be undone."""
        return len(self._records(folder))

    def _change(self, folder: Path, wanted: Mapping[Path, str]) -> CaptionsChanged:
        """Write captions, and remember how the files were."""
        with self._contents.change(folder) as journal:
            before = {file: _content(file) for file in wanted}
            after: dict[Path, bytes | None] = {file: text.encode() for file, text in wanted.items()}
            after = {file: content for file, content in after.items() if content != before[file]}
            if not after:
                return CaptionsChanged(())
            self._remember(folder, {file: (before[file], content) for file, content in after.items()}, journal, after)
        return CaptionsChanged(tuple(file.name for file in after))

    def _remember(
        self,
        folder: Path,
        record: Mapping[Path, tuple[bytes | None, bytes | None]],
        journal: Journal,
        after: Mapping[Path, bytes | None],
    ) -> None:
        """Make a change after writing down how to undo it."""
        records = self._records(folder)
        number = int(records[-1].stem) + 1 if records else 1
        file = self._contents.own_folder(folder) / UNDO / f"{number:08}.json"
        values = [
            [os.fsencode(path.relative_to(folder)).hex(), *(None if text is None else text.hex() for text in texts)]
            for path, texts in record.items()
        ]
        write_atomically(file, json.dumps(values).encode())
        try:
            journal.commit(_change_to(after))
        except BaseException:
            remove_file(file, missing_ok=True)
            raise
        for old in records[: max(0, len(records) + 1 - MAX_UNDO)]:
            remove_file(old, missing_ok=True)

    def _records(self, folder: Path) -> list[Path]:
        where = self._contents.own_folder(folder) / UNDO
        try:
            return sorted(path for path in where.iterdir() if path.suffix == ".json" and path.stem.isdecimal())
        except FileNotFoundError:
            return []


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


def _change_to(contents: Mapping[Path, bytes | None]) -> Change:
    """Return the change that gives files these contents; None removes a file."""
    writes = tuple((file, content) for file, content in contents.items() if content is not None)
    return Change(
        writes=writes,
        removes=tuple(file for file, content in contents.items() if content is None),
        replaces=tuple(file for file, _ in writes if file.exists()),
    )


def _read_record(file: Path, folder: Path) -> dict[Path, tuple[bytes | None, bytes | None]]:
    """Read how captions were before and after a change. Raises StorageFailed."""
    try:
        values: Any = json.loads(read_regular_file(file, MAX_UNDO_BYTES))
        found: dict[Path, tuple[bytes | None, bytes | None]] = {}
        for name, *texts in cast("list[list[Any]]", values):
            relative = Path(os.fsdecode(bytes.fromhex(name)))
            if relative.is_absolute() or ".." in relative.parts or relative.suffix != ".txt":
                raise ValueError(f"{relative} is no caption file")
            before, after = (None if text is None else bytes.fromhex(text) for text in texts)
            found[folder / relative] = before, after
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise StorageFailed(msg("What was changed last is not known any more: {reason}.", reason=error)) from error
    return found
