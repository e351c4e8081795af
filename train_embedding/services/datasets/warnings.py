"""What is worth knowing of a dataset before training: missing and empty captions, folders named for kohya's scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

_NAMED = 3
"Files that a sentence names."


def dataset_notes(folder: Path, words: Mapping[Path, str], repeats: bool) -> tuple[str, ...]:
    """Sentences about a dataset. words: of each usable image its caption. repeats: whether subfolders are searched."""
    return (*_folder_notes(folder, repeats), *_caption_notes(words))


def _folder_notes(folder: Path, repeats: bool) -> list[str]:
    from train_embedding.engine.data.image_folder import SEARCH_SUBFOLDERS, listed, repeats_in, subfolders_with_images

    notes: list[str] = []
    if count := repeats_in(folder.name):
        notes.append(
            f"This folder's name asks for {count} repeats in kohya's scripts. Here the steps alone set how long a run is, so a "
            'single folder needs no repeats; to weigh several, give the folder above and switch on "Repeated subfolders" '
            "(--repeats)."
        )
    counted = [] if repeats else subfolders_with_images(folder)[0]
    if counted:
        notes.append(f"Images in {listed(counted)} are not used. {SEARCH_SUBFOLDERS}")
    return notes


def _caption_notes(words: Mapping[Path, str]) -> list[str]:
    from train_embedding.engine.data.captions import caption_file, has_file

    has_caption = {file: has_file(caption_file(file)) for file in words}
    captioned, bare = ([file for file, has in has_caption.items() if has is wanted] for wanted in (True, False))
    empty = [caption_file(file) for file in captioned if not words[file]]
    others = [file for file in bare if has_file(file.with_suffix(".caption"))]
    notes: list[str] = []
    if others:
        notes.append(f'Captions are read from ".txt" files only, not from ".caption": {_some(others)}.')
    elif captioned and bare:
        notes.append(f"{len(bare)} of {len(words)} images have no caption file, so their names are used: {_some(bare)}.")
    if empty:
        notes.append(f"Empty caption files, for which [filewords] is nothing: {_some(empty)}.")
    return notes


def _some(files: Sequence[Path]) -> str:
    from train_embedding.engine.data.image_folder import readable

    more = f" and {len(files) - _NAMED} more" if len(files) > _NAMED else ""
    return ", ".join(readable(file.name) for file in files[:_NAMED]) + more
