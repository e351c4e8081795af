"""Warnings about a dataset before training: missing and empty captions, folder names for kohya's scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from train_embedding.engine.config.spec import OPTIONS
from train_embedding.messages import SPACE, Message, joined, msg, plural

_MAX_LISTED = 3
"Number of files that a sentence names."


def warnings_about(folder: Path, captions: Mapping[Path, str], repeats: bool) -> tuple[Message, ...]:
    """Return warnings about a dataset.

    Args:
        folder: The dataset.
        captions: The caption of each usable image.
        repeats: Whether subfolders are searched too.
    """
    return (*_folder_warnings(folder, repeats), *_caption_warnings(captions))


def _folder_warnings(folder: Path, repeats: bool) -> list[Message]:
    from train_embedding.engine.data.image_folder import (
        SEARCH_SUBFOLDERS,
        list_subfolders,
        repeats_from_name,
        subfolders_with_images,
    )

    warnings: list[Message] = []
    if count := repeats_from_name(folder.name):
        warnings.append(
            plural(
                "In kohya's scripts, the name of this folder means {count} repeat. Here, the number of steps alone sets the "
                "length of a run, so a single folder needs no repeats. To weight several folders, choose their parent folder and "
                'switch on "{option}".',
                "In kohya's scripts, the name of this folder means {count} repeats. Here, the number of steps alone sets the "
                "length of a run, so a single folder needs no repeats. To weight several folders, choose their parent folder and "
                'switch on "{option}".',
                count,
                option=next(option.label for option in OPTIONS if option.name == "repeats"),
            )
        )
    counted = [] if repeats else subfolders_with_images(folder)[0]
    if counted:
        unused = msg("Images in {subfolders} are not used.", subfolders=list_subfolders(counted))
        warnings.append(joined((unused, SEARCH_SUBFOLDERS), SPACE))
    return warnings


def _caption_warnings(captions: Mapping[Path, str]) -> list[Message]:
    from train_embedding.engine.data.captions import caption_path, file_exists

    has_caption = {file: file_exists(caption_path(file)) for file in captions}
    captioned, bare = ([file for file, has in has_caption.items() if has is wanted] for wanted in (True, False))
    empty = [caption_path(file) for file in captioned if not captions[file]]
    others = [file for file in bare if file_exists(file.with_suffix(".caption"))]
    warnings: list[Message] = []
    if others:
        warnings.append(
            msg('Captions are read from ".txt" files only, not from ".caption" files: {files}.', files=_list_some(others))
        )
    elif captioned and bare:
        warnings.append(
            plural(
                "{count} of {total} images has no caption file, so its file name is used: {files}.",
                "{count} of {total} images have no caption file, so their file names are used: {files}.",
                len(bare),
                total=len(captions),
                files=_list_some(bare),
            )
        )
    if empty:
        warnings.append(msg("Empty caption files, which make [filewords] empty: {files}.", files=_list_some(empty)))
    return warnings


def _list_some(files: Sequence[Path]) -> Message:
    from train_embedding.engine.data.image_folder import displayable

    names = joined(displayable(file.name) for file in files[:_MAX_LISTED])
    more = len(files) - _MAX_LISTED
    return msg("{names} and {more} more", names=names, more=more) if more > 0 else names
