"""What the fuzzer begins with reaches every reader, and nothing in it is a finding."""

from __future__ import annotations

import pytest

from benchmarks.fuzz_formats import READERS, _seeds  # pyright: ignore[reportPrivateUsage]
from train_embedding.embeddings.formats import read_bytes
from train_embedding.errors import UnreadableFile


@pytest.mark.parametrize("reader", [pytest.param(name, marks=pytest.mark.slow if name == "PNG" else []) for name in READERS])
def test_seeds(reader: str) -> None:
    suffix, wrap = READERS[reader]
    read = 0
    for seed in _seeds(reader):
        try:
            read += read_bytes(wrap(seed), f"seed{suffix}").count
        except UnreadableFile as error:
            assert error.message.startswith(f'"seed{suffix}" ')  # noqa: PT017 - some seeds are read, some refused
    assert read
