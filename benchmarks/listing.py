"""Time to list a collection, with and without the index on the disk: `python -m benchmarks.listing`.

Makes collections of SD1 embeddings with 4 vectors in a temporary folder, some with previews and notes, and measures
`Library.list()` with a host that answers immediately, so the time of a host to load embeddings is not included. A fresh process
has already imported torch, like every host. Each figure is the minimum of several measurements, as in timeit.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.formats import write_embedding
from train_embedding.hosts.base import HostInfo, LoadedEmbeddings
from train_embedding.services.library.library import Library

WORDS = """bad easy deep real ink comic photo style water colour hands prompt art night light old castle forest cyber neon soft
dream star moon fox cat dragon knight rose glass paper clay steam gold silver ruin sea storm desert winter summer tower city"""
FOLDERS = ("", "styles", "people", "negative/hands", "old")
NOTES = {"description": "a description", "activation text": "by lamplight", "preferred weight": 0.8}
REPEATS = 9


class QuickHost:
    """A host that has loaded all embeddings and answers immediately."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names = frozenset(path.stem for path in (folder / "embeddings").rglob("*.pt"))

    def info(self) -> HostInfo:
        return HostInfo("benchmark", self.folder / "embeddings", self.folder / "runs", widths={"clip_l": 768})

    def loaded_embeddings(self) -> LoadedEmbeddings:
        return LoadedEmbeddings(self.names, {})


@dataclass(frozen=True)
class Times:
    """Times in seconds, each the minimum of several measurements."""

    files: int
    everything: float
    "Reads all files, without an index."
    fresh: float
    "Uses the index, in a fresh process."
    warm: float
    "Again in the same process, with nothing changed."
    changed: float
    "Again, after 10 files were written."


def main(arguments: list[str] | None = None) -> int:
    chosen = parser().parse_args(arguments)
    if chosen.once:
        print(json.dumps(timed(lambda: library_of(chosen.once).list())))
        return 0
    print(HEAD)
    for files in chosen.files:
        with tempfile.TemporaryDirectory(dir=chosen.work) as folder:
            print(row(measure(Path(folder), files)), flush=True)
    return 0


HEAD = """\
| embeddings | all are read | index, fresh process | again, nothing changed | again, 10 changed | all : fresh | all : again |
|---|---|---|---|---|---|---|"""


def row(times: Times) -> str:
    shown = " | ".join(f"{seconds:.3f} s" for seconds in (times.everything, times.fresh, times.warm, times.changed))
    return f"| {times.files:,} | {shown} | {times.everything / times.fresh:.0f} | {times.everything / times.warm:.0f} |"


def measure(folder: Path, files: int, repeats: int = REPEATS) -> Times:
    make_collection(folder, files)
    library = library_of(folder)
    everything = []
    for _ in range(min(3, repeats)):
        shutil.rmtree(folder / "library", ignore_errors=True)
        library = library_of(folder)
        everything.append(timed(library.list))
    fresh = [in_a_fresh_process(folder) for _ in range(repeats)]
    warm = [timed(library.list) for _ in range(repeats)]
    changed = []
    for number in range(repeats):
        for path in sorted((folder / "embeddings").rglob("*.pt"))[number * 10 : number * 10 + 10]:
            write(path, seed=files + number)
        time.sleep(0.2)
        changed.append(timed(library.list))
    return Times(files, *(min(times) for times in (everything, fresh, warm, changed)))


def make_collection(folder: Path, files: int) -> None:
    """Make a collection: one in four has a preview, one in ten notes, one in a hundred the vectors of another."""
    words = WORDS.split()
    for number in range(files):
        name = f"{words[number % len(words)]}-{words[number // len(words) % len(words)]}-{number:x}"
        path = folder / "embeddings" / FOLDERS[number % len(FOLDERS)] / f"{name}.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, seed=number if number % 100 else 0)
        if number % 4 == 0:
            path.with_suffix(".preview.png").write_bytes(b"\x89PNG")
        if number % 10 == 0:
            path.with_suffix(".json").write_text(json.dumps(NOTES), encoding="utf-8")


def write(path: Path, seed: int) -> None:
    vectors = torch.randn(4, 768, generator=torch.Generator().manual_seed(seed))
    write_embedding(Embedding(path.stem, {"clip_l": vectors}, 400, "v1-5"), path)


def library_of(folder: Path) -> Library:
    host: Any = QuickHost(folder)
    return Library(host)


def in_a_fresh_process(folder: Path) -> float:
    command = [sys.executable, "-m", "benchmarks.listing", "--once", str(folder)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def timed(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def parser() -> argparse.ArgumentParser:
    built = argparse.ArgumentParser(prog="python -m benchmarks.listing", description=(__doc__ or "").partition(":")[0])
    built.add_argument("--files", type=int, nargs="+", default=[2000, 10000], help="sizes of the collections")
    built.add_argument("--work", type=Path, help="folder for the collections (default: the system's temporary folder)")
    built.add_argument("--once", type=Path, help=argparse.SUPPRESS)
    return built


if __name__ == "__main__":
    sys.exit(main())
