"""The files beside an embedding that belong to it: previews, notes, what other programs keep, the optimizer's state."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Sequence
from functools import cache
from pathlib import Path

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif")
PREVIEW_SUFFIXES = tuple(f"{mark}{suffix}" for mark in (".preview", "") for suffix in PICTURE_SUFFIXES)
"What the WebUI looks for beside an embedding."
NOTES_SUFFIX = ".json"
TEXT_SUFFIX = ".txt"
"The WebUI shows the text of `name.txt` as the description where `name.json` has none."
OPTIMIZER_SUFFIX = ".optim"
"The WebUI's trainer keeps the optimizer's state of `name.pt` in `name.pt.optim`."
OTHER_PICTURES = (".avif", ".jxl", ".tif", ".tiff", ".bmp", ".heic", ".heif", ".jfif", ".apng", ".tga", ".svg")
VIDEOS = (".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".ogv")
"What model managers keep as previews besides pictures."
PICTURES = frozenset((*PICTURE_SUFFIXES, *OTHER_PICTURES))
_OF_OTHERS = (".md", ".info", ".yaml", ".yml", ".toml", ".csv", ".html", ".htm", ".url", ".sha256", ".md5")
SUFFIXES = frozenset((*PICTURES, *VIDEOS, NOTES_SUFFIX, TEXT_SUFFIX, OPTIMIZER_SUFFIX, *_OF_OTHERS))
"Last suffix of what may stand beside an embedding, such as `name.civitai.info`. Any file called `name.preview.…` may, too."


_NOT_PREVIEWS = frozenset((*SUFFIXES, "")) - PICTURES - frozenset(VIDEOS)


def split(name: str) -> tuple[str, str]:
    """A file's name as stem and suffix, as pathlib splits it, in a fraction of the time."""
    stem, dot, suffix = name.rpartition(".")
    return (stem, dot + suffix) if stem and suffix else (name, "")


def is_embedding(path: Path) -> bool:
    """Whether a file holds an embedding, as its name says, or a picture's content where the name leaves it open."""
    from train_embedding.embeddings.formats import is_embedding_file

    return _is_named_so(path.name) or (_may_be_either(path.name) and is_embedding_file(path))


def grouped(names: Iterable[str], folder: Path) -> dict[str, list[str]]:
    """Of the names of files in one folder, those of embeddings, each with the names of what belongs to it.

    A file belongs to the embedding with the longest stem that its name begins with, up to a dot. A picture beside an embedding of
    its own stem is that one's preview, whatever it carries.
    """
    names = list(names)
    embeddings = [name for name in names if _is_named_so(name)]
    stems = {split(name)[0] for name in embeddings}
    embeddings += [name for name in names if _may_be_either(name) and split(name)[0] not in stems and is_embedding(folder / name)]
    owned: dict[str, list[str]] = {split(name)[0]: [] for name in embeddings}
    for name in set(names).difference(embeddings):
        stem = _longest_stem(name, owned)
        if stem:
            owned[stem].append(name)
    return {name: owned[split(name)[0]] for name in embeddings}


def owners(names: Sequence[str]) -> dict[str, str]:
    """Of names that have no folder yet, those of sidecars, each with the name of the embedding that it belongs to.

    As `grouped`, of several embeddings of one stem the first one; a picture that belongs to none counts as an embedding itself.
    """
    embeddings = {split(name)[0]: name for name in reversed(names) if _is_named_so(name)}
    pictures = [name for name in names if _may_be_either(name) and split(split(name)[0])[1].lower() != ".preview"]
    every = {split(name)[0]: name for name in pictures if not _longest_stem(name, embeddings)} | embeddings
    stems = {name: _longest_stem(name, every) for name in names if name not in every.values() and not _is_named_so(name)}
    return {name: every[stem] for name, stem in stems.items() if stem}


def sidecars_of(file: Path) -> list[Path]:
    """What belongs to the embedding at `file`; links are left out that lead out of its folder. Raises OSError."""
    names = grouped(_names_near(file), file.parent).get(file.name, [])
    paths = [file.with_name(name) for name in sorted(names)]
    return [path for path in paths if is_plain(path)]


def is_plain(path: Path) -> bool:
    """Whether a file may be opened: no pipe, which would be waited for, and no link out of its folder."""
    try:
        return path.is_file() and (not path.is_symlink() or path.resolve().parent == path.parent.resolve())
    except (OSError, RuntimeError):  # links in a ring
        return False


def shared_with_another(file: Path) -> bool:
    """Whether another embedding of the same stem lies in the folder, so that all but the optimizer's state is both's."""
    embeddings = grouped(_names_near(file), file.parent)
    return any(split(name)[0] == file.stem and name != file.name for name in embeddings)


def is_its_own(sidecar: Path, file: Path) -> bool:
    """Whether a sidecar belongs to that file alone, whatever else has its stem."""
    return sidecar.name.startswith(f"{file.name}.")


def previews_of(stem: str, names: Iterable[str]) -> list[str]:
    """Which of an embedding's sidecars are its preview, the one that is shown first."""
    present = set(names)
    return [name for name in (f"{stem}{suffix}" for suffix in PREVIEW_SUFFIXES) if name in present]


def _longest_stem(name: str, stems: Container[str]) -> str:
    """Of the stems, the longest that a sidecar's name begins with; empty where there is none, and for what is no sidecar."""
    stem, suffix = split(name)
    if stem.endswith(".preview") and suffix.lower() not in _NOT_PREVIEWS and stem.removesuffix(".preview") in stems:
        return stem.removesuffix(".preview")
    if suffix.lower() not in SUFFIXES:
        return ""
    if suffix.lower() == TEXT_SUFFIX and not (stem in stems or _suffix_says_so(stem)):
        return ""  # a text such as "dog.v2.txt" describes no other embedding than the one of that very name
    while stem not in stems and "." in stem:
        stem = stem.rpartition(".")[0]
    return stem if stem in stems else ""


def _names_near(file: Path) -> list[str]:
    """The names in an embedding's folder that can have to do with it: no others need be looked at."""
    return [name for name in os.listdir(file.parent) if name.startswith(f"{split(file.name)[0]}.")]


def _is_named_so(name: str) -> bool:
    """Whether a file of that name holds an embedding; pictures may or may not."""
    return split(name)[1].lower() not in PICTURES and _suffix_says_so(name)


def _may_be_either(name: str) -> bool:
    """Whether a file of that name may be a picture that carries an embedding, or just a picture."""
    return split(name)[1].lower() in PICTURES and _suffix_says_so(name)


def _suffix_says_so(name: str) -> bool:
    return split(name)[1].lower() in _format_suffixes()


@cache
def _format_suffixes() -> frozenset[str]:
    from train_embedding.embeddings.formats import SUFFIXES as FORMAT_SUFFIXES

    return frozenset(FORMAT_SUFFIXES)
