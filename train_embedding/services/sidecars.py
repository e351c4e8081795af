"""The files beside an embedding that belong to it: previews, notes, what other programs keep, the optimizer's state."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif")
PREVIEW_SUFFIXES = tuple(f"{mark}{suffix}" for mark in (".preview", "") for suffix in PICTURE_SUFFIXES)
"What the WebUI looks for beside an embedding."
NOTES_SUFFIX = ".json"
OPTIMIZER_SUFFIX = ".optim"
"The WebUI's trainer keeps the optimizer's state of `name.pt` in `name.pt.optim`."
_OF_OTHERS = (".avif", ".jxl", ".txt", ".md", ".info", ".yaml", ".yml", ".csv", ".html", ".url", ".sha256")
SUFFIXES = frozenset((*PICTURE_SUFFIXES, NOTES_SUFFIX, OPTIMIZER_SUFFIX, *_OF_OTHERS))
"Last suffix of what may stand beside an embedding, such as `name.civitai.info`."


def split(name: str) -> tuple[str, str]:
    """A file's name as stem and suffix, as pathlib splits it, in a fraction of the time."""
    stem, dot, suffix = name.rpartition(".")
    return (stem, dot + suffix) if stem and suffix else (name, "")


def is_embedding_name(name: str) -> bool:
    """Whether a file of that name holds an embedding; quick where it does not."""
    from train_embedding.embeddings.formats import SUFFIXES as FORMAT_SUFFIXES
    from train_embedding.embeddings.formats import is_embedding_file

    return split(name)[1].lower() in FORMAT_SUFFIXES and is_embedding_file(Path(name))


def grouped(names: Iterable[str]) -> dict[str, list[str]]:
    """Of the names of files in one folder, per stem of an embedding the names of what belongs to it.

    A file belongs to the embedding with the longest stem that its name begins with, up to a dot.
    """
    owned: dict[str, list[str]] = {}
    others: list[str] = []
    for name in names:
        stem, suffix = split(name)
        if is_embedding_name(name):
            owned[stem] = []
        elif suffix.lower() in SUFFIXES:
            others.append(name)
    for name in others:
        stem = split(name)[0]
        while stem not in owned and "." in stem:
            stem = stem.rpartition(".")[0]
        if stem in owned:
            owned[stem].append(name)
    return owned


def sidecars_of(file: Path) -> list[Path]:
    """What belongs to the embedding at `file`; links are left out that lead out of its folder. Raises OSError."""
    folder = file.parent.resolve()
    names = grouped(path.name for path in file.parent.iterdir()).get(file.stem, [])
    paths = [file.with_name(name) for name in sorted(names)]
    return [path for path in paths if path.is_file() and path.resolve().parent == folder]


def shared_with_another(file: Path) -> bool:
    """Whether another embedding of the same stem lies in the folder, so that all but the optimizer's state is both's."""
    return any(path.stem == file.stem and path != file and is_embedding_name(path.name) for path in file.parent.iterdir())


def is_its_own(sidecar: Path, file: Path) -> bool:
    """Whether a sidecar belongs to that file alone, whatever else has its stem."""
    return sidecar.name.startswith(f"{file.name}.")


def previews_of(stem: str, names: Iterable[str]) -> list[str]:
    """Which of an embedding's sidecars are its preview, the one that is shown first."""
    present = set(names)
    return [name for name in (f"{stem}{suffix}" for suffix in PREVIEW_SUFFIXES) if name in present]
