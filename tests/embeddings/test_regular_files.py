"""Files in people's folders are opened without waiting for what has taken their place."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from train_embedding.embeddings.regular_files import NotRegularFile, read_regular_file


def test_it_reads_one_byte_more_than_the_limit(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"12345")
    assert [read_regular_file(file, limit) for limit in (3, 4, 5, 6)] == [b"1234", b"12345", b"12345", b"12345"]


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotRegularFile):
        read_regular_file(tmp_path, 1)


def test_a_missing_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_regular_file(tmp_path / "a", 1)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes in folders")
def test_a_pipe_that_took_its_place_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was a file when it was looked at, and a pipe when it was opened."""
    file, pipe = tmp_path / "file", tmp_path / "pipe"
    file.write_bytes(b"1")
    os.mkfifo(pipe)
    status = file.stat()
    monkeypatch.setattr(Path, "stat", lambda *_, **__: status)
    outcome: list[BaseException] = []

    def read() -> None:
        try:
            read_regular_file(pipe, 1)
        except OSError as error:
            outcome.append(error)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(5)
    assert [type(error) for error in outcome] == [NotRegularFile]
