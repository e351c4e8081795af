"""fsspec addresses such as s3://bucket/folder: copies of datasets and checkpoints on this machine, and the saved runs of studies.

Object storage has no locks, and an upload can end halfway. So nothing there is changed in place: each time that a run is saved,
all of its files go to a new archive, and the one before is removed afterwards. The names of archives begin with the number of the
attempt to carry out the run, so what a worker saves that was wrongly taken for dead does not replace what its successor saves.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import logging
import os
import re
import secrets
import zipfile
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from train_embedding.embeddings.storage import replace_file, temporary_key
from train_embedding.engine.training.resume import RESUME_FILE
from train_embedding.errors import NotFound, StorageFailed, TrainEmbeddingError
from train_embedding.messages import msg
from train_embedding.services.store.locks import file_lock

CACHE_VARIABLE = "TRAIN_EMBEDDING_CACHE"
"Environment variable with the folder of the copies."
_COPYING = 3600.0
"Seconds to wait for another process that copies the same file."
_VERSION = ("size", "ETag", "etag", "md5", "mtime", "LastModified", "last_modified", "updated", "created")
"What the file systems of fsspec say of a file that changes with its contents."
_ARCHIVE = re.compile(r"(\d{4})-(\d{6})-[0-9a-f]{8}\.zip")
_NOT_SAVED = re.compile(r"\.lock|.*\.tmp|.*\.sqlite3.*|library")
"Names in the folder of a run that are of no use to another worker."

logger = logging.getLogger(__name__)


def is_address(text: str) -> bool:
    """Return whether a text is an address of fsspec, and not a path."""
    return "://" in text


def joined_address(address: str, *names: str) -> str:
    """Return the address of something in a folder."""
    return "/".join((address.rstrip("/"), *names))


def last_name(address: str) -> str:
    """Return the name of the file or folder at an address."""
    return address.rstrip("/").rpartition("/")[2]


@cache
def exists(address: str) -> bool:
    """Return whether there is something at an address, looking there once. Raises StorageFailed."""
    with _access(address):
        system, path = _connect(address)
        return bool(system.exists(path))


def subfolders(address: str) -> list[str]:
    """Return the names of the folders in a folder. Raises NotFound, StorageFailed."""
    with _access(address):
        system, path = _connect(address)
        return sorted(last_name(info["name"]) for info in system.ls(path, detail=True) if info["type"] == "directory")


def write(address: str, data: bytes) -> None:
    """Write a file. Raises StorageFailed."""
    with _access(address):
        system, path = _connect(address)
        system.makedirs(path.rpartition("/")[0], exist_ok=True)
        system.pipe_file(path, data)


def local_copy(address: str) -> Path:
    """Copy a file or folder to this machine, unless the copy of an earlier call is still valid.

    A .yaml file of the same name is copied with a file, because it may be the configuration of a checkpoint.

    Returns:
        The path of the copy, which ends with the same name.

    Raises:
        NotFound: There is nothing at the address.
        StorageFailed: It cannot be read, or the copy cannot be written.
    """
    with _access(address):
        system, root = _connect(address)
        files = _files(system, root)
        version = [(name, *(str(files[name].get(fact)) for fact in _VERSION)) for name in sorted(files)]
        key = hashlib.sha256(repr((address, version)).encode()).hexdigest()[:16]
        above, _, name = root.rpartition("/")
        target = _cache_folder() / key
        with file_lock(target.with_suffix(".lock"), _COPYING):
            if not target.exists():
                _download(system, list(files), above, target)
    return target / name


class SavedRun:
    """The archives of a run at an address.

    Args:
        address: The folder that holds them.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._others: list[str] = []
        self._newest = ""
        self._attempt = self._saves = 0
        self._stamp = 0

    def fetch(self, folder: Path) -> None:
        """Bring the newest archive that is complete to a folder, unless it is there already. Raises StorageFailed."""
        with _access(self._address):
            system, root = _connect(self._address)
            system.invalidate_cache()
            found: list[str] = system.ls(root, detail=False) if system.exists(root) else []
            names = sorted(name for name in map(last_name, found) if _ARCHIVE.fullmatch(name))
            self._others = names
            self._attempt = 1 + max((int(name[:4]) for name in names), default=0)
            for name in reversed(names):
                if name == self._newest or self._extract(system, f"{root}/{name}", folder):
                    self._newest = name
                    return

    def save(self, folder: Path) -> None:
        """Save the files of a folder as a new archive, and remove the older ones. Raises StorageFailed."""
        self._saves += 1
        name = f"{self._attempt:04d}-{self._saves:06d}-{secrets.token_hex(4)}.zip"
        self._stamp = _stamp(folder)
        write(joined_address(self._address, name), _archive(folder))
        for other in self._others:
            try:
                _remove(joined_address(self._address, other))
            except TrainEmbeddingError as error:  # it is only in the way
                logger.info("An older archive stays: %s", error)
        self._others = [name]

    def save_progress(self, folder: Path) -> None:
        """Save the files of a run that is being trained, if it has saved its training state since. A failure is only logged."""
        if _stamp(folder) == self._stamp:
            return
        try:
            self.save(folder)
        except StorageFailed as error:
            logger.warning("The run is saved later: %s", error)

    def _extract(self, system: Any, path: str, folder: Path) -> bool:
        """Extract an archive. Returns False if it is incomplete or no longer there."""
        try:
            with zipfile.ZipFile(io.BytesIO(system.cat_file(path))) as archive:
                archive.extractall(folder)
        except (zipfile.BadZipFile, FileNotFoundError):
            return False
        return True


def _archive(folder: Path) -> bytes:
    """Return a ZIP file of the files of a run, which may be written at the same time.

    What a run is resumed from comes first. The other files are then as old or newer, as after a kill, which a run survives.
    """
    files = [path for path in folder.rglob("*") if path.is_file()]
    names = {path: path.relative_to(folder) for path in files}
    saved = [path for path in files if not any(_NOT_SAVED.fullmatch(part) for part in names[path].parts)]
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for path in sorted(saved, key=lambda path: (path.name != RESUME_FILE, path)):
            try:
                archive.writestr(names[path].as_posix(), path.read_bytes())
            except FileNotFoundError:
                continue  # removed or replaced in the meantime
    return data.getvalue()


def _stamp(folder: Path) -> int:
    """Return when the training state of a run was last written; 0 if it was not."""
    return max((path.stat().st_mtime_ns for path in folder.glob(f"runs/*/{RESUME_FILE}")), default=0)


def _remove(address: str) -> None:
    with _access(address):
        system, path = _connect(address)
        system.rm_file(path)


def _files(system: Any, root: str) -> dict[str, dict[str, Any]]:
    """Return what the file system says of each file to copy. Raises FileNotFoundError, OSError."""
    info = system.info(root)
    if info["type"] == "file":
        config = str(PurePosixPath(root).with_suffix(".yaml"))
        return {root: info, **({config: system.info(config)} if system.exists(config) else {})}
    files: dict[str, dict[str, Any]] = system.find(root, detail=True)
    if not files:
        raise FileNotFoundError(root)
    return files


def _download(system: Any, names: list[str], above: str, target: Path) -> None:
    """Copy files to a folder, which appears when it is complete."""
    part = target.with_name(f".{temporary_key()}.tmp")
    copies = [part.joinpath(*name[len(above) :].strip("/").split("/")) for name in names]
    for name, copy in zip(names, copies, strict=True):
        if ".." in copy.parts:
            raise ValueError(f"{name} is not inside the folder")
        copy.parent.mkdir(parents=True, exist_ok=True)
    system.get(names, list(map(str, copies)))
    replace_file(part, target)


def _cache_folder() -> Path:
    return Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "train-embedding").absolute()


def _connect(address: str) -> tuple[Any, str]:
    """Return the file system of an address, and the path there."""
    try:
        core: Any = importlib.import_module("fsspec.core")  # optional
    except ImportError as error:
        raise NotFound(
            msg("{package} is not installed.", package="fsspec"),
            msg("Install it with {command}.", command="pip install 'sd-webui-train-embedding[cluster]'"),
        ) from error
    system, path = core.url_to_fs(address)
    return system, path.rstrip("/")


@contextmanager
def _access(address: str) -> Generator[None, None, None]:
    """Translate the errors of a file system, whose kinds are as many as the packages behind fsspec."""
    try:
        yield
    except TrainEmbeddingError:
        raise
    except FileNotFoundError as error:
        raise NotFound(msg('"{address}" does not exist.', address=address)) from error
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise StorageFailed(msg('"{address}" cannot be accessed: {reason}', address=address, reason=reason)) from error
