"""Sidecars: files next to an embedding that belong to it, such as previews, notes and the optimizer's state."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Sequence
from functools import cache
from pathlib import Path

WEBUI_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif")
PREVIEW_SUFFIXES = tuple(f"{mark}{suffix}" for mark in (".preview", "") for suffix in WEBUI_IMAGE_SUFFIXES)
"The previews that the WebUI looks for next to an embedding, in its order."
NOTES_SUFFIX = ".json"
TEXT_SUFFIX = ".txt"
"The WebUI shows the text of `name.txt` as the description where `name.json` has none."
OPTIMIZER_SUFFIX = ".optim"
"The WebUI's trainer keeps the optimizer's state of `name.pt` in `name.pt.optim`."
OTHER_IMAGE_SUFFIXES = (".avif", ".jxl", ".tif", ".tiff", ".bmp", ".heic", ".heif", ".jfif", ".apng", ".tga", ".svg")
VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".ogv")
"Videos that model managers store as previews."
IMAGE_SUFFIXES = frozenset((*WEBUI_IMAGE_SUFFIXES, *OTHER_IMAGE_SUFFIXES))
_OTHER_SUFFIXES = (".md", ".info", ".yaml", ".yml", ".toml", ".csv", ".html", ".htm", ".url", ".sha256", ".md5")
SUFFIXES = frozenset((*IMAGE_SUFFIXES, *VIDEO_SUFFIXES, NOTES_SUFFIX, TEXT_SUFFIX, OPTIMIZER_SUFFIX, *_OTHER_SUFFIXES))
"The last suffix of a sidecar, such as `name.civitai.info`. Any file called `name.preview.…` is one, too."

_NOT_PREVIEWS = frozenset((*SUFFIXES, "")) - IMAGE_SUFFIXES - frozenset(VIDEO_SUFFIXES)


def split_suffix(name: str) -> tuple[str, str]:
    """Split a file's name into stem and suffix, as pathlib does, in a fraction of the time."""
    stem, dot, suffix = name.rpartition(".")
    return (stem, dot + suffix) if stem and suffix else (name, "")


def is_embedding(path: Path) -> bool:
    """Whether a file is an embedding. Its name decides, and for an image its content."""
    from train_embedding.embeddings.formats import is_embedding_file

    return _has_embedding_name(path.name) or (_may_carry_embedding(path.name) and is_embedding_file(path))


def group_sidecars(names: Iterable[str], folder: Path) -> dict[str, list[str]]:
    """Group the names of the files in a folder by the embedding that they belong to.

    A file belongs to the embedding with the longest stem that its name begins with, up to a dot. An image with the stem of an
    embedding is its preview, even if the image carries an embedding itself.

    Args:
        names: The names of the files.
        folder: Their folder. Images are opened to find out whether they carry an embedding.

    Returns:
        The name of each embedding's file, with the names of its sidecars.
    """
    names = list(names)
    embeddings = [name for name in names if _has_embedding_name(name)]
    stems = {split_suffix(name)[0] for name in embeddings}
    embeddings += [
        name
        for name in names
        if _may_carry_embedding(name) and split_suffix(name)[0] not in stems and is_embedding(folder / name)
    ]
    owned: dict[str, list[str]] = {split_suffix(name)[0]: [] for name in embeddings}
    for name in set(names).difference(embeddings):
        stem = _longest_stem(name, owned)
        if stem:
            owned[stem].append(name)
    return {name: owned[split_suffix(name)[0]] for name in embeddings}


def find_owners(names: Sequence[str]) -> dict[str, str]:
    """Find the embedding that each sidecar belongs to, by names alone, for files that are in no folder yet.

    The rules are those of `group_sidecars`. Of several embeddings with one stem, the first one owns the sidecars; an image that
    belongs to none counts as an embedding itself.

    Returns:
        The name of each sidecar, with the name of its embedding's file.
    """
    embeddings = {split_suffix(name)[0]: name for name in reversed(names) if _has_embedding_name(name)}
    images = [
        name for name in names if _may_carry_embedding(name) and split_suffix(split_suffix(name)[0])[1].lower() != ".preview"
    ]
    every = {split_suffix(name)[0]: name for name in images if not _longest_stem(name, embeddings)} | embeddings
    stems = {name: _longest_stem(name, every) for name in names if name not in every.values() and not _has_embedding_name(name)}
    return {name: every[stem] for name, stem in stems.items() if stem}


def find_sidecars(file: Path) -> list[Path]:
    """List the sidecars of the embedding at `file`, without links that lead out of its folder. Raises OSError."""
    names = group_sidecars(_names_near(file), file.parent).get(file.name, [])
    paths = [file.with_name(name) for name in sorted(names)]
    return [path for path in paths if may_be_opened(path)]


def may_be_opened(path: Path) -> bool:
    """Whether a path is a regular file, and not a link out of its folder. Opening a pipe would wait forever."""
    try:
        return path.is_file() and (not path.is_symlink() or path.resolve().parent == path.parent.resolve())
    except (OSError, RuntimeError):  # a circle of links
        return False


def belongs_to_file(sidecar: Path, file: Path) -> bool:
    """Whether a sidecar belongs to one file only, not to every embedding with its stem."""
    return sidecar.name.startswith(f"{file.name}.")


def select_previews(stem: str, names: Iterable[str]) -> list[str]:
    """Select the previews among an embedding's sidecars; the first one is the one that is shown."""
    present = set(names)
    return [name for name in (f"{stem}{suffix}" for suffix in PREVIEW_SUFFIXES) if name in present]


def _longest_stem(name: str, stems: Container[str]) -> str:
    """Return the longest of the stems that a sidecar's name begins with; empty if there is none, or if it is not a sidecar."""
    stem, suffix = split_suffix(name)
    if stem.endswith(".preview") and suffix.lower() not in _NOT_PREVIEWS and stem.removesuffix(".preview") in stems:
        return stem.removesuffix(".preview")
    if suffix.lower() not in SUFFIXES:
        return ""
    if suffix.lower() == TEXT_SUFFIX and not (stem in stems or _has_embedding_suffix(stem)):
        return ""  # a text such as "dog.v2.txt" can only describe an embedding called "dog.v2"
    while stem not in stems and "." in stem:
        stem = stem.rpartition(".")[0]
    return stem if stem in stems else ""


def _names_near(file: Path) -> list[str]:
    """Return the names in an embedding's folder that begin as its sidecars do."""
    return [name for name in os.listdir(file.parent) if name.startswith(f"{split_suffix(file.name)[0]}.")]


def _has_embedding_name(name: str) -> bool:
    """Whether a file of that name is an embedding for certain; an image may or may not be one."""
    return split_suffix(name)[1].lower() not in IMAGE_SUFFIXES and _has_embedding_suffix(name)


def _may_carry_embedding(name: str) -> bool:
    """Whether a file of that name is an image, which may or may not carry an embedding."""
    return split_suffix(name)[1].lower() in IMAGE_SUFFIXES and _has_embedding_suffix(name)


def _has_embedding_suffix(name: str) -> bool:
    return split_suffix(name)[1].lower() in _format_suffixes()


@cache
def _format_suffixes() -> frozenset[str]:
    from train_embedding.embeddings.formats import SUFFIXES as FORMAT_SUFFIXES

    return frozenset(FORMAT_SUFFIXES)
