"""Images that are excluded from training without being deleted: a text file in their folder lists their names."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from train_embedding.embeddings.regular_files import read_regular_file
from train_embedding.engine.data.file_names import displayable
from train_embedding.errors import UnreadableFile, cannot_read
from train_embedding.messages import msg

EXCLUDED_FILE = "excluded-from-training.txt"
"In the folder of the images. One name per line; empty lines and lines that begin with # are ignored."
MAX_BYTES = 4 * 2**20
_HEADER = "# Images in this folder that Train Embedding leaves out, one name per line.\n"


def read_excluded(folder: Path) -> frozenset[str]:
    """Read the names of the excluded images of a folder, as `displayable` shows them; none if there is no such file.

    Raises:
        UnreadableFile: The file cannot be read.
    """
    file = folder / EXCLUDED_FILE
    try:
        data = read_regular_file(file, MAX_BYTES)
    except FileNotFoundError:
        return frozenset()
    except OSError as error:
        raise UnreadableFile(cannot_read(file, error)) from error
    if len(data) > MAX_BYTES:
        raise UnreadableFile(msg('"{file}" is larger than {most} MB.', file=file, most=MAX_BYTES // 2**20))
    lines = (line.strip() for line in data.decode("utf-8-sig", "replace").splitlines())
    return frozenset(line for line in lines if line and not line.startswith("#"))


def format_excluded(names: Iterable[str]) -> bytes:
    """Return the content of the file that excludes images."""
    return (_HEADER + "".join(f"{displayable(name)}\n" for name in sorted(names))).encode()
