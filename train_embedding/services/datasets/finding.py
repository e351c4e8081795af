"""Finding a dataset by what was typed, and its images by their names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from train_embedding.allowed_folders import resolve_allowed
from train_embedding.errors import InvalidInput, NotAllowed, NotFound, cannot_read
from train_embedding.hosts.base import Host
from train_embedding.messages import msg
from train_embedding.services.datasets.checking import Checking
from train_embedding.services.datasets.checks import CheckedImage, CheckOptions
from train_embedding.services.datasets.contents import datasets_folder
from train_embedding.services.typed_paths import typed_path, typed_text


class Finder:
    """Finds datasets and their images. Safe to use from any thread.

    Args:
        host: The host, for the data folder and the folders that may be read.
        checking: Reads the images.
    """

    def __init__(self, host: Host, checking: Checking) -> None:
        self._host = host
        self._checking = checking

    def folder(self, typed: str | Path) -> Path:
        """Check that a folder exists and may be read.

        Args:
            typed: The folder as typed, or the name of a dataset in the data folder.

        Returns:
            Its absolute path, with links resolved.

        Raises:
            InvalidInput: The text is empty, or it is not a folder.
            NotAllowed: It is outside the folders that a shared server may read, or access is denied.
            NotFound: It does not exist.
        """
        text = str(typed)
        if not typed_text(text):
            raise InvalidInput(msg("No dataset is given."), msg("Enter the folder that contains the training images."))
        path = self.file(self._path_of(text))
        try:
            is_there, is_folder = path.exists(), path.is_dir()
        except OSError as error:
            raise NotAllowed(cannot_read(path, error)) from error
        if not is_there:
            raise NotFound(msg('The folder "{folder}" does not exist.', folder=path))
        if not is_folder:
            raise InvalidInput(msg('"{file}" is a file, not a folder of images.', file=path))
        return path

    def file(self, file: Path) -> Path:
        """Check that a file may be read; return its absolute path, with links resolved. Raises InvalidInput, NotAllowed."""
        return resolve_allowed(file, self._host.info().allowed_folders)

    def images(self, folder: Path, names: Sequence[str] = ()) -> Sequence[CheckedImage]:
        """Return images of a dataset and of its subfolders for repeats, by default all. Raises NotFound."""
        return self.named(folder, names) if names else self._checking.read(folder, CheckOptions(repeats=True))

    def named(self, folder: Path, names: Sequence[str], options: CheckOptions | None = None) -> list[CheckedImage]:
        """Return images by their names, also from subfolders for repeats. Raises NotFound, InvalidInput."""
        options = replace(options or CheckOptions(), repeats=True)
        if not names:
            raise InvalidInput(msg("No image is given."), msg("Select at least one."))
        by_name = {image.name: image for image in self._checking.read(folder, options, frozenset(names))}
        for name in names:
            if name not in by_name:
                raise NotFound(msg('There is no image "{name}" in "{folder}".', name=name, folder=folder))
        return [by_name[name] for name in dict.fromkeys(names)]

    def _path_of(self, text: str) -> Path:
        """Return the folder that was typed: a name alone is that of a dataset in the data folder, if there is one."""
        typed = typed_text(text)
        if typed not in (".", "..") and not typed.startswith(".") and Path(typed).name == typed and "\0" not in typed:
            named = datasets_folder(self._host.info()) / typed
            if os.path.isdir(named):  # noqa: PTH112 - Path.is_dir raises an error for a long name before Python 3.12
                return named
        return typed_path(text)
