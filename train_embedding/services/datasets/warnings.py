"""Warnings about a dataset before training: missing and empty captions, folders named for kohya's scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

_MAX_LISTED = 3
"How many files a sentence names."


def warnings_about(folder: Path, captions: Mapping[Path, str], repeats: bool) -> tuple[str, ...]:
    """Return warnings about a dataset, in sentences.

    Args:
        folder: The dataset.
        captions: The caption of each usable image.
        repeats: Whether its subfolders are searched.
    """
    return (*_folder_warnings(folder, repeats), *_caption_warnings(captions))


def _folder_warnings(folder: Path, repeats: bool) -> list[str]:
    from train_embedding.engine.data.image_folder import (
        SEARCH_SUBFOLDERS,
        list_subfolders,
        repeats_from_name,
        subfolders_with_images,
    )

    warnings: list[str] = []
    if count := repeats_from_name(folder.name):
        warnings.append(
            f"In kohya's scripts, this folder's name means {count} repeats. Here only the number of steps sets how long a run "
            "is, so one folder needs no repeats. To weight several folders, choose their parent folder and switch on "
            '"Repeated subfolders" (--repeats).'
        )
    counted = [] if repeats else subfolders_with_images(folder)[0]
    if counted:
        warnings.append(f"Images in {list_subfolders(counted)} are not used. {SEARCH_SUBFOLDERS}")
    return warnings


def _caption_warnings(captions: Mapping[Path, str]) -> list[str]:
    from train_embedding.engine.data.captions import caption_path, file_exists

    has_caption = {file: file_exists(caption_path(file)) for file in captions}
    captioned, bare = ([file for file, has in has_caption.items() if has is wanted] for wanted in (True, False))
    empty = [caption_path(file) for file in captioned if not captions[file]]
    others = [file for file in bare if file_exists(file.with_suffix(".caption"))]
    warnings: list[str] = []
    if others:
        warnings.append(f'Captions are read from ".txt" files only, not from ".caption": {_list_some(others)}.')
    elif captioned and bare:
        count = f"{len(bare)} of {len(captions)}"
        warnings.append(f"{count} images have no caption file, so their names are used: {_list_some(bare)}.")
    if empty:
        warnings.append(f"Empty caption files, for which [filewords] is nothing: {_list_some(empty)}.")
    return warnings


def _list_some(files: Sequence[Path]) -> str:
    from train_embedding.engine.data.image_folder import displayable

    more = f" and {len(files) - _MAX_LISTED} more" if len(files) > _MAX_LISTED else ""
    return ", ".join(displayable(file.name) for file in files[:_MAX_LISTED]) + more
