"""Processes that are killed in the middle of renaming, deleting and restoring: whoever comes next finds all or nothing."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from train_embedding.embeddings.embedding import Embedding
from train_embedding.services.library.library import Library
from train_embedding.testing import FakeHost

ROOT = Path(__file__).parents[3]
KILLS = 25
BESIDE = (".preview.png", ".json", ".civitai.info", ".pt.optim")
# Imports once and forks for each life, which the test then kills.
WORKER = """
import os, sys
from pathlib import Path
from train_embedding.testing import FakeHost
from train_embedding.services.library import Library
library = Library(FakeHost(Path(sys.argv[1])))
library.list()
for _ in sys.stdin:
    child = os.fork()
    if child == 0:
        while True:
            for item in library.trashed():
                library.restore(item.id)
            (name,) = {entry.name for entry in library.list()}
            library.rename(name, "second" if name == "first" else "first")
            library.delete("second" if name == "first" else "first")
    print(child, flush=True)
    os.waitpid(child, 0)
    print("dead", flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")
def test_kills_at_random_instants(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    entry = Library(host).save(Embedding("first", {"clip_l": torch.ones(2, 768)}))
    contents = {".pt": entry.file.read_bytes()}
    for suffix in BESIDE:
        contents[suffix] = suffix.encode() * 1000
        entry.file.with_name(f"first{suffix}").write_bytes(contents[suffix])
    generator = random.Random(5)
    states = list[str]()
    command = [sys.executable, "-c", WORKER, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        for _ in range(KILLS):
            worker.stdin.write("\n")
            child = int(worker.stdout.readline())
            time.sleep(generator.uniform(0.0, 0.25))
            os.kill(child, signal.SIGKILL)
            assert worker.stdout.readline() == "dead\n"
            states.append(the_one_state(host, tmp_path, contents))
        worker.stdin.close()
    assert len(set(states)) > 1, "the kills fell into one moment only"


def the_one_state(host: FakeHost, folder: Path, contents: dict[str, bytes]) -> str:
    """Where the embedding is, with everything that belongs to it and nothing besides. A new process looks."""
    library = Library(host)
    names = {entry.name for entry in library.list()}
    trashed = library.trashed()
    assert len(names) + len(trashed) == 1, (names, trashed)
    name = names.pop() if names else trashed[0].name
    place = library.trash_folder / trashed[0].id if trashed else folder / "embeddings"
    assert {path.name: path.read_bytes() for path in place.iterdir()} == {f"{name}{end}": data for end, data in contents.items()}
    assert not [*library.trash_folder.rglob("*.tmp"), *(folder / "embeddings").rglob("*.tmp")]
    return f"{name} {'in the trash' if trashed else ''}"
