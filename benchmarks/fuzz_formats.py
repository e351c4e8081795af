"""Coverage-guided fuzzing of the readers of embeddings with atheris: `python -m benchmarks.fuzz_formats --seconds N`.

Each reader runs in its own process, starting from small files of its format. A finding is any exception other than
UnreadableFile, a message that does not begin with the file's name or has several lines, a read that takes longer than 5 seconds,
and one that reserves more than 256 MB at once. Inputs with findings are kept in `--work`, and the exit code is then 1.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

SECONDS, MEMORY = 5, 256


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=int, default=60, help="time for each reader (default: 60)")
    parser.add_argument("--reader", action="append", choices=READERS, help="only this reader; may be given several times")
    parser.add_argument("--work", type=Path, default=Path("benchmark-results/fuzz"), help="folder for inputs")
    parser.add_argument("--inside", choices=READERS, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.inside:
        _fuzz(chosen.inside, chosen.seconds, chosen.work)
    found = False
    print("| reader | inputs | coverage | findings |\n|---|---:|---:|---:|")
    for reader in chosen.reader or READERS:
        row, failed = _run(reader, chosen.seconds, chosen.work)
        print(row, flush=True)
        found |= failed
    return int(found)


def _run(reader: str, seconds: int, work: Path) -> tuple[str, bool]:
    command = [
        sys.executable,
        "-m",
        "benchmarks.fuzz_formats",
        "--inside",
        reader,
        "--seconds",
        str(seconds),
        "--work",
        str(work),
    ]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    inputs = re.findall(r"^#(\d+)", done.stderr, re.MULTILINE)
    coverage = re.findall(r"cov: (\d+)", done.stderr)
    if done.returncode:
        print(done.stderr[-4000:], file=sys.stderr)
    row = f"| {reader} | {inputs[-1] if inputs else 0} | {coverage[-1] if coverage else 0} | {int(done.returncode != 0)} |"
    return row, done.returncode != 0


def _fuzz(reader: str, seconds: int, work: Path) -> None:
    import atheris  # pyright: ignore[reportMissingModuleSource]

    with atheris.instrument_imports(  # pyright: ignore[reportAttributeAccessIssue]
        include=["train_embedding", "zipfile", "pickletools", "json"]
    ):
        from train_embedding.embeddings.formats import read_bytes, read_sanitized
        from train_embedding.embeddings.formats.unsafe import unsafe_reason
    from train_embedding.errors import UnreadableFile

    suffix, wrap = READERS[reader]

    def one_input(data: bytes) -> None:
        file = wrap(data)
        try:
            if unsafe_reason(file, f"fuzzed{suffix}"):
                read_sanitized(file, f"fuzzed{suffix}")
            read_bytes(file, f"fuzzed{suffix}")
        except UnreadableFile as error:
            if not error.message.startswith(f'"fuzzed{suffix}" ') or "\n" in error.message:
                raise ValueError(error.message) from error

    corpus = work / reader
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(_seeds(reader)):
        (corpus / f"seed-{number}").write_bytes(seed)
    limits = [f"-max_total_time={seconds}", f"-timeout={SECONDS}", f"-malloc_limit_mb={MEMORY}", "-rss_limit_mb=2048"]
    artefacts = [f"-artifact_prefix={corpus}-", "-max_len=16384", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], str(corpus), *limits, *artefacts], one_input)
    atheris.Fuzz()


def _seeds(reader: str) -> list[bytes]:
    """Return small valid files for a reader, and malicious ones."""
    import pickle

    import torch

    from benchmarks.hostile_cases import array_pickle, cases, tensor_pickle
    from train_embedding.embeddings.embedding import Embedding
    from train_embedding.embeddings.formats import FORMATS, encode
    from train_embedding.embeddings.formats.containers import json_text
    from train_embedding.errors import InvalidInput

    if reader.startswith("pickle"):
        plain = (pickle.dumps({"a": [1, "b", (2.5, None)]}, n) for n in range(6))
        return [tensor_pickle(), tensor_pickle(times=2), array_pickle(), array_pickle(core="_core", times=2), *plain]
    if reader == "json":
        return [json_text.encode({"string_to_param": {"*": torch.ones(2, 2)}, "step": 1}), b'{"clip_l": {"TORCHTENSOR": [1e5]}}']
    suffix, _ = READERS[reader]
    seeds = [data for case in cases() if case.suffix == suffix and len(data := case.make("/nowhere/ran")) < 4096]
    for name, form in FORMATS.items():
        if suffix in form.containers:
            for vectors in ({"clip_l": torch.ones(1, 4)}, {"clip_l": torch.ones(1, 4), "clip_g": torch.ones(1, 8)}):
                try:
                    seeds.append(encode(Embedding("a", vectors, 1), name, suffix))
                except InvalidInput:  # a kind of image that Pillow does not have here
                    continue
    return seeds


def _in_a_zip(data: bytes) -> bytes:
    from benchmarks.hostile_cases import zip_file

    return zip_file(data, (bytes(64),))


def _in_the_old_layout(data: bytes) -> bytes:
    import pickle
    import struct

    from benchmarks.hostile_cases import legacy_file

    return legacy_file(data, pickle.dumps(["0"], 2) + struct.pack("<q", 4) + bytes(16))


def _in_a_png(data: bytes) -> bytes:
    from benchmarks.hostile_cases import png, text_chunk

    return png(text_chunk(data))


READERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "torch file": (".pt", bytes),
    "pickle in a zip": (".pt", _in_a_zip),
    "pickle in the old layout": (".pt", _in_the_old_layout),
    "safetensors": (".safetensors", bytes),
    "PNG": (".png", bytes),
    "json": (".png", _in_a_png),
    "WebP": (".webp", bytes),
}
"By name: the suffix that the file is given, and what is made of an input."


if __name__ == "__main__":
    sys.exit(main())
