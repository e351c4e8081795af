"""Presets of one's own: settings of a training run under a name, kept as small JSON files that can be passed on."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from train_embedding.embeddings.names import check_name, did_you_mean, folded
from train_embedding.embeddings.regular_files import read_regular_file
from train_embedding.embeddings.storage import copy_flushed, replace_file, storage_failed, write_atomically
from train_embedding.engine.config.presets import PRESET_NAMES, preset_values
from train_embedding.engine.config.spec import OPTIONS, TrainingSpec
from train_embedding.errors import (
    Conflict,
    InvalidInput,
    InvalidName,
    InvalidOption,
    InvalidSpec,
    NotFound,
    UnreadableFile,
    cannot_read,
)
from train_embedding.hosts.base import Host
from train_embedding.messages import Message, joined, msg
from train_embedding.services.json_values import to_json

FOLDER, TRASH, SUFFIX = "presets", "preset-trash", ".json"
"Folders next to the runs folder, and the suffix of the files in them."
MAX_SIZE = 256 * 2**10
"Largest size of a file in bytes."
MAX_DESCRIPTION = 1000
"Characters."
SUBJECT = ("embedding", "dataset", "preset", "teacher_prompt", "candidates")
"Options that say what is trained on what, which no preset contains."

_VERSION_KEY, _VERSION = "train_embedding_preset", 1
_STAMP = "%Y%m%d-%H%M%S"
_DEFAULTS = {option.name: option.default for option in OPTIONS}
_ANYTHING = {"embedding": "name", "dataset": "folder"}
"What a run needs besides a preset, for checking one."

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class OwnPreset:
    """Settings with a name."""

    name: str
    based_on: str
    "A preset of the program."
    options: Mapping[str, Any]
    "The options that differ from it, in the order in which they are declared."
    description: str = ""

    @property
    def values(self) -> dict[str, Any]:
        """The values of all options but those of `SUBJECT`."""
        return {**usual_values(self.based_on), **self.options}

    def to_json(self) -> dict[str, Any]:
        """Return the values of its file."""
        return {
            _VERSION_KEY: _VERSION,
            "name": self.name,
            "based_on": self.based_on,
            "description": self.description,
            "options": to_json(self.options),
        }


class Presets:
    """The presets in the data folder of a host. Safe to call from any thread."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._lock = threading.RLock()

    @property
    def folder(self) -> Path:
        """The folder of their files."""
        return self._host.info().runs_folder.parent / FOLDER

    def version(self) -> int:
        """Return a number that changes whenever a preset is saved, renamed or deleted."""
        try:
            return self.folder.stat().st_mtime_ns
        except OSError:
            return 0

    def list(self) -> list[OwnPreset]:
        """Return all presets, sorted by name. Files that cannot be read are logged and left out."""
        found: list[OwnPreset] = []
        for file in self._files():
            try:
                found.append(_read(file))
            except (UnreadableFile, InvalidInput, InvalidName) as error:
                logger.warning("The preset in %s is left out of the list: %s", file, error)
        return sorted(found, key=lambda preset: (preset.name.casefold(), preset.name))

    def get(self, name: str) -> OwnPreset:
        """Return a preset. Raises NotFound, UnreadableFile, InvalidInput."""
        return _read(self._file(name))

    def save(
        self,
        name: str,
        values: Mapping[str, Any],
        description: str | None = None,
        overwrite: bool = False,
    ) -> OwnPreset:
        """Save settings under a name.

        Args:
            name: The name.
            values: Options of a run, such as `TrainingSpec.to_json` returns; those of `SUBJECT` are not saved, but "preset" says
                which one the others are based on. It may be a preset of one's own.
            description: What the preset is for; None keeps that of a preset that is overwritten.
            overwrite: Whether to replace a preset of that name, which goes to the trash.

        Raises:
            InvalidName: The name cannot be used.
            InvalidInput: An option is unknown, or has a value that is not allowed.
            Conflict: The name is taken, and `overwrite` is not given.
            StorageFailed: The file cannot be written.
        """
        _check_free_name(name)
        based_on, options = checked_options(self.resolved(values))
        with self._lock:
            existing = self._find(name)
            if existing is not None and not overwrite:
                raise _taken(name, msg('Choose another name, or use "{option}".', option=msg("Overwrite")))
            if description is None:
                description = _description_in(existing)
            preset = OwnPreset(name, based_on, options, _checked_description(description))
            target = self.folder / f"{name}{SUFFIX}"
            if existing is not None:  # it stays until it is replaced, so that it is not lost if that fails
                self._copy_to_trash(existing)
                if existing != target:
                    _move(existing, target)
            write_atomically(target, encode_preset(preset))
        return preset

    def rename(self, name: str, new_name: str) -> OwnPreset:
        """Rename a preset. Raises NotFound, InvalidName, Conflict, UnreadableFile, StorageFailed."""
        _check_free_name(new_name)
        with self._lock:
            file, preset = self._file(name), self.get(name)
            existing = self._find(new_name)
            if existing is not None and existing != file:
                raise _taken(new_name, msg("Choose another name."))
            renamed = replace(preset, name=new_name)
            target = self.folder / f"{new_name}{SUFFIX}"
            if target != file:
                _move(file, target)
            write_atomically(target, encode_preset(renamed))
        return renamed

    def delete(self, name: str) -> str:
        """Move a preset to the trash, and return the id that restores it. Raises NotFound, StorageFailed."""
        with self._lock:
            return self._move_to_trash(self._file(name))

    def restore(self, trash_id: str) -> OwnPreset:
        """Move a preset back from the trash. Raises NotFound, Conflict, UnreadableFile, StorageFailed."""
        with self._lock:
            trash = self._trash()
            source = next((file for file in trash.glob(f"*{SUFFIX}") if file.stem == trash_id), None)
            if source is None:
                raise NotFound(msg('There is no preset "{item}" in the trash.', item=trash_id))
            preset = _read(source, name=trash_id.rpartition(".")[0])
            if self._find(preset.name) is not None:
                raise _taken(preset.name, msg("Rename or delete it first."))
            _move(source, self.folder / f"{preset.name}{SUFFIX}")
        return preset

    def export(self, name: str) -> bytes:
        """Return a preset as a file to pass on. Raises NotFound, UnreadableFile."""
        return encode_preset(self.get(name))

    def export_to(self, target: Path, name: str, overwrite: bool = False) -> Path:
        """Write a preset into an existing folder or to a file, and return its path.

        Raises:
            NotFound: There is no such preset.
            Conflict: The file exists, and `overwrite` is not given.
            StorageFailed: The file cannot be written.
        """
        preset = self.get(name)
        path = target / f"{preset.name}{SUFFIX}" if target.is_dir() else target
        if path.exists() and not overwrite:
            raise Conflict(msg('"{name}" already exists.', name=path), msg("Choose another file, or use --overwrite."))
        write_atomically(path, encode_preset(preset))
        return path

    def import_path(self, file: Path, name: str = "", overwrite: bool = False) -> OwnPreset:
        """Add a preset from a file at a path. Raises NotFound, and the errors of `import_file`."""
        try:
            data = read_regular_file(file, MAX_SIZE + 1)
        except FileNotFoundError as error:
            raise NotFound(msg('The file "{file}" does not exist.', file=file)) from error
        except OSError as error:
            raise UnreadableFile(cannot_read(file.name, error)) from error
        return self.import_file(data, name, overwrite)

    def import_file(self, data: bytes, name: str = "", overwrite: bool = False) -> OwnPreset:
        """Add a preset from a file.

        Args:
            data: The content of the file.
            name: Its new name; empty for the one in the file.
            overwrite: Whether to replace a preset of that name, which goes to the trash.

        Raises:
            UnreadableFile: It is not a preset.
            InvalidName: Its name cannot be used.
            InvalidInput: It has an option that does not exist, or a value that is not allowed.
            Conflict: The name is taken, and `overwrite` is not given.
            StorageFailed: The file cannot be written.
        """
        preset = decode_preset(data)
        values = {**preset.to_json()["options"], "preset": preset.based_on}
        return self.save(name or preset.name, values, preset.description, overwrite)

    def resolved(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return options of a run in which "preset" is one of the program.

        If it names a preset of one's own, that one's options are added, unless they are given.

        Raises:
            InvalidSpec: There is no such preset.
            UnreadableFile: Its file is damaged.
        """
        name = values.get("preset")
        if not isinstance(name, str) or name in PRESET_NAMES:
            return dict(values)
        file = self._find(name)
        if file is None:
            every = [*PRESET_NAMES, *(preset.name for preset in self.list())]
            raise InvalidSpec(
                msg('There is no preset "{name}".', name=name), msg("The presets are {names}.", names=joined(every))
            )
        preset = _read(file)
        return {**preset.to_json()["options"], **values, "preset": preset.based_on}

    def _files(self) -> list[Path]:
        try:
            return [file for file in self.folder.iterdir() if file.suffix == SUFFIX and not file.name.startswith(".")]
        except OSError:  # none was saved yet
            return []

    def _find(self, name: str) -> Path | None:
        """Return the file with a name, whatever its case: some file systems ignore it."""
        alike = [file for file in self._files() if folded(file.stem) == folded(name)]
        return next((file for file in alike if file.stem == name), alike[0] if alike else None)

    def _file(self, name: str) -> Path:
        file = self._find(name)
        if file is None:
            raise NotFound(
                msg('You have no preset called "{name}".', name=name),
                did_you_mean(name, (file.stem for file in self._files())),
            )
        return file

    def _trash(self) -> Path:
        return self._host.info().runs_folder.parent / TRASH

    def _move_to_trash(self, file: Path) -> str:
        target = self._trash_file(file)
        _move(file, target)
        return target.stem

    def _copy_to_trash(self, file: Path) -> None:
        copy_flushed(file, self._trash_file(file))

    def _trash_file(self, file: Path) -> Path:
        """Return where a file is put in the trash."""
        files = (self._trash() / f"{trash_id}{SUFFIX}" for trash_id in _trash_ids(file.stem))
        return next(target for target in files if not target.exists())


def usual_values(preset: str) -> dict[str, Any]:
    """Return the values of all options but those of `SUBJECT` with a preset of the program. Raises InvalidSpec."""
    return {name: value for name, value in {**_DEFAULTS, **preset_values(preset)}.items() if name not in SUBJECT}


def checked_options(values: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Check options of a run.

    Returns:
        The preset of the program that they are based on, and the options that differ from it, without those of `SUBJECT`.

    Raises:
        InvalidInput: An option is unknown, or has a value that is not allowed.
    """
    given = {name: value for name, value in values.items() if name not in SUBJECT or name == "preset"}
    try:
        spec = TrainingSpec.from_json({**given, **_ANYTHING})
    except InvalidOption as error:
        label = next(option.label for option in OPTIONS if option.name == error.option)
        raise error.shown_as(msg('"{option}"', option=label)) from error
    usual = usual_values(spec.preset)
    return spec.preset, {name: getattr(spec, name) for name, value in usual.items() if getattr(spec, name) != value}


def encode_preset(preset: OwnPreset) -> bytes:
    """Return the content of a preset's file."""
    return json.dumps(preset.to_json(), ensure_ascii=False, indent=2).encode("utf-8", "replace") + b"\n"


def decode_preset(data: bytes, name: str = "") -> OwnPreset:
    """Read a preset from the content of a file; nothing in it is executed.

    Args:
        data: The content.
        name: The name, instead of the one in the file.

    Raises:
        UnreadableFile: It is not a preset.
        InvalidInput: It has an option that does not exist, or a value that is not allowed.
    """
    values = _parsed(data)
    options: object = values.get("options")
    if values.get(_VERSION_KEY) != _VERSION or not isinstance(options, dict):
        raise _no_preset(msg("it is another kind of file, or from a newer version"))
    written, description = values.get("name"), values.get("description", "")
    if not isinstance(written, str) or not isinstance(description, str):
        raise _no_preset(msg("its name or description is not text"))
    based_on, changed = checked_options({**cast("dict[str, Any]", options), "preset": values.get("based_on")})
    return OwnPreset(name or written, based_on, changed, _checked_description(description))


def _parsed(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_SIZE:
        raise _no_preset(msg("it is larger than {limit} KB", limit=MAX_SIZE // 1024))
    try:
        values: object = json.loads(data.decode("utf-8-sig"), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise _no_preset(msg("it is not valid JSON")) from error
    if not isinstance(values, dict):
        raise _no_preset(msg("it is another kind of file, or from a newer version"))
    return cast("dict[str, Any]", values)


def _refuse(text: str) -> float:
    raise ValueError(text)


def _no_preset(reason: Message) -> UnreadableFile:
    return UnreadableFile(
        msg("The file is not a preset: {reason}.", reason=reason), msg("Choose a .json file that was exported as a preset.")
    )


def _read(file: Path, name: str = "") -> OwnPreset:
    try:
        return decode_preset(read_regular_file(file, MAX_SIZE + 1), name or file.stem)
    except OSError as error:
        raise UnreadableFile(cannot_read(file.name, error)) from error


def _description_in(file: Path | None) -> str:
    try:
        return "" if file is None else _read(file).description
    except (UnreadableFile, InvalidInput):  # it is replaced anyway
        return ""


def _check_free_name(name: str) -> None:
    if not name.strip():
        raise InvalidName(msg("The name is empty."), msg("Enter a name for the preset."))
    check_name(name)
    if folded(name) in map(folded, PRESET_NAMES):
        raise InvalidName(msg('"{name}" is a built-in preset.', name=name), msg("Choose another name."))


def _checked_description(text: str) -> str:
    if len(text) > MAX_DESCRIPTION:
        raise InvalidInput(
            msg("The description has {length} characters; at most {limit} are allowed.", length=len(text), limit=MAX_DESCRIPTION)
        )
    return text.strip()


def _taken(name: str, hint: Message) -> Conflict:
    return Conflict(msg('There is already a preset "{name}".', name=name), hint)


def _trash_ids(name: str) -> Iterator[str]:
    stamp, number = time.strftime(_STAMP), 1
    yield f"{name}.{stamp}"
    while True:
        number += 1
        yield f"{name}.{stamp}-{number}"


def _move(source: Path, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        replace_file(source, target)
    except OSError as error:
        raise storage_failed(source, error, "moved") from error
