"""Malicious files and the readers of embeddings: `python -m benchmarks.hostile_files`, on Linux or macOS.

Each file of `benchmarks.hostile_cases` is read in a forked process, like the library reads it. The process reports the message or
the shape, the time, and the peak memory above that of an ordinary embedding. A payload that runs would create a file, and an
import a new module; both are checked. The exit code is 1 if a limit was exceeded.
`--case TEXT` reads only the files whose name contains the text.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.hostile_cases import Case, cases
from train_embedding.embeddings.formats.containers import images, pixels, png_text
from train_embedding.errors import UnreadableFile
from train_embedding.images import decoder
from train_embedding.images.errors import NotDecoded
from train_embedding.images.limits import EMBEDDING
from train_embedding.images.metadata import strip_metadata

SECONDS, MEMORY = 2.0, 256
"Limits for each file, in seconds and MB."
_SCALE = 2**20 if sys.platform == "darwin" else 2**10
_LAZY = ("json.", "encodings.", "torch.", "numpy.", "safetensors.")
"Modules that may be loaded when the first ordinary file is read."


@dataclass(frozen=True)
class Outcome:
    """The result of a file; `memory` in MB above that of an ordinary embedding."""

    case: str
    size: int
    result: str
    refused: bool
    seconds: float
    memory: float
    damage: str = ""

    @property
    def within_limits(self) -> bool:
        return not self.damage and self.seconds <= SECONDS and self.memory <= MEMORY


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--case", default="", help="only cases whose name contains this text")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        outcomes = [outcome(case, Path(folder)) for case in cases() if chosen.case in case.name]
        outcomes += truncations(Path(folder)) if not chosen.case else []
    print(table(outcomes))
    return 0 if all(each.within_limits for each in outcomes) else 1


def outcome(case: Case, folder: Path) -> Outcome:
    """Reads the file of a case in a process of its own. folder: an empty one."""
    marker = folder / "ran"
    file = folder / f"evil{case.suffix}"
    file.write_bytes(case.make(str(marker)))
    plain = _in_a_fork(_ordinary_file(folder))
    read = _in_a_fork(file)
    left = sorted(path.name for path in folder.iterdir())
    damage = str(read["damage"]) or (f"left {left}" if left != [file.name, "ordinary.pt"] else "")
    size, apart = file.stat().st_size, _decoder_memory(file)
    for path in folder.iterdir():
        path.unlink()
    memory = max(0.0, float(read["memory"]) - float(plain["memory"])) + apart
    return Outcome(case.name, size, str(read["result"]), bool(read["refused"]), float(read["seconds"]), memory, damage)


def truncations(folder: Path) -> list[Outcome]:
    """A small file of every form, cut at each of its bytes; the slowest read of each, and how many were refused."""
    from train_embedding.embeddings.embedding import Embedding
    from train_embedding.embeddings.formats import FORMATS, encode, read_bytes
    from train_embedding.errors import InvalidInput, UnreadableFile

    found: list[Outcome] = []
    embedding = Embedding("small", {"clip_l": torch.arange(1.0, 9.0).reshape(1, 8)})
    for name, form in FORMATS.items():
        for suffix in form.containers:
            try:
                data = encode(embedding, name, suffix)
            except InvalidInput:  # a kind of image that Pillow does not have here
                continue
            refused, slowest = 0, 0.0
            for size in range(len(data)):
                start = time.perf_counter()
                try:
                    read_bytes(data[:size], f"small{suffix}")
                except UnreadableFile:
                    refused += 1
                slowest = max(slowest, time.perf_counter() - start)
            result = f"{refused} of {len(data)} refused"
            found.append(Outcome(f"{name} {suffix}, cut at each byte", len(data), result, refused > 0, slowest, 0.0))
    return found


def table(outcomes: list[Outcome]) -> str:
    """The outcomes as Markdown."""
    rows = ["| file | size | what happened | time | memory |", "|---|---:|---|---:|---:|"]
    for each in outcomes:
        happened = f"**{each.damage}**" if each.damage else each.result.replace("|", "\\|")
        rows.append(f"| {each.case} | {_size(each.size)} | {happened} | {each.seconds:.2f} s | {each.memory:.0f} MB |")
    worst = max(outcomes, key=lambda each: each.seconds), max(outcomes, key=lambda each: each.memory)
    damaging = [each.case for each in outcomes if each.damage]
    rows += ["", f"{len(outcomes)} files. Longest: {worst[0].seconds:.2f} s ({worst[0].case})."]
    rows += [f"Most memory: {worst[1].memory:.0f} MB ({worst[1].case})."]
    rows += [f"Ran, imported, wrote, renamed or died: {', '.join(damaging) or 'none'}."]
    return "\n".join(rows)


def _in_a_fork(file: Path) -> dict[str, str | float | bool]:
    """Reads a file in a forked process. memory: its peak in MB."""
    from train_embedding.embeddings.formats import read_embedding

    read_embedding(_ordinary_file(file.parent))  # what is loaded once is loaded before the fork
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receiver)
        with os.fdopen(sender, "w") as pipe:
            pipe.write(json.dumps(_read(file)))
        os._exit(0)
    os.close(sender)
    with os.fdopen(receiver) as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    return json.loads(told) if told else {"result": "", "refused": False, "seconds": 0, "memory": 0, "damage": "died"}


def _read(file: Path) -> dict[str, str | float | bool]:
    from train_embedding.embeddings.formats import read_embedding, read_sanitized
    from train_embedding.embeddings.formats.unsafe import unsafe_reason
    from train_embedding.errors import UnreadableFile

    before, data = set(sys.modules), file.read_bytes()
    start, damage = time.perf_counter(), ""
    try:
        embedding = read_embedding(file)
        refused, result = False, f"reads: {embedding.count} vectors for {' and '.join(embedding.vectors)}"
    except UnreadableFile as error:
        refused, result = True, error.message
    except Exception as error:  # noqa: BLE001 - what the table is for
        refused, result, damage = False, "", f"{type(error).__name__}: {error}"
    try:
        if unsafe_reason(data, file.name):  # as a list does
            read_sanitized(data, file.name)
            result += " Its vectors can be saved."
    except UnreadableFile:
        pass
    seconds = time.perf_counter() - start
    imported = [name for name in set(sys.modules) - before if not name.startswith(_LAZY)]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _SCALE
    damage = damage or (f"imported {imported}" if imported and file.suffix != ".jxl" else "")
    return {"result": result, "refused": refused, "seconds": seconds, "memory": memory, "damage": damage}


def _decoder_memory(file: Path) -> float:
    """Peak MB of the process that decodes such an image; 0 for files that do not get so far.

    A process begins with its parent's peak as its own, hence the small one between.
    """
    data = file.read_bytes()
    if not pixels.sniff(data) or png_text.sniff(data):
        return 0.0
    try:
        alone, kind = images.check_header(data, file.name)
        alone = strip_metadata(alone, kind)
    except (UnreadableFile, NotDecoded):
        return 0.0
    handed = file.with_suffix(".handed")
    handed.write_bytes(alone)
    job = decoder.job_of(alone, kind, EMBEDDING, mode="RGB", wanted=True)
    between = "import resource, subprocess, sys; data = sys.argv[1].encode() + b'\\n' + open(sys.argv[2], 'rb').read(); "
    between += "subprocess.run(sys.argv[3:], input=data, capture_output=True); "
    between += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    command = [sys.executable, "-c", between, json.dumps(job), str(handed), sys.executable, str(decoder.SCRIPT)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) / _SCALE


def _ordinary_file(folder: Path) -> Path:
    file = folder / "ordinary.pt"
    if not file.exists():
        values = {"string_to_param": {"*": torch.ones(4, 768)}, "name": "ordinary", "step": 1}
        torch.save(values, file, _use_new_zipfile_serialization=False)
    return file


def _size(count: int) -> str:
    return f"{count} B" if count < 1000 else f"{count / 1000:.0f} kB" if count < 10**6 else f"{count / 10**6:.1f} MB"


if __name__ == "__main__":
    sys.exit(main())
