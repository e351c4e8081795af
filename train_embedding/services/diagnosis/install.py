"""Reads a WebUI's folder: which program it is, its version, settings and folders. Nothing of the WebUI is imported or run."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from train_embedding.embeddings.regular_files import read_regular_file
from train_embedding.hosts.recognition import Program, recognize

SCRIPT = Path("scripts", "train_embedding_tab.py")
"The file of the extension that WebUIs run."
_MAX_FILE = 4 * 2**20
_FOLDER_OPTIONS = ("--data-dir", "--embeddings-dir")


@dataclass(frozen=True)
class Install:
    """A WebUI on the disk."""

    folder: Path
    program: Program
    version: str
    "As the program names it; empty if it is not known."
    commit: str
    data_folder: Path
    embeddings_folder: Path
    options: tuple[str, ...]
    "The names of the command-line options that it is started with. Values may be passwords, so they are left out."
    settings: dict[str, Any]
    "What its config.json holds."

    @property
    def extensions_folder(self) -> Path:
        return self.data_folder / "extensions"

    @property
    def python(self) -> Path | None:
        """The interpreter of its virtual environment; None if it has none."""
        folder = self.folder / (os.environ.get("VENV_DIR") or "venv")
        candidates = (folder / "bin" / "python", folder / "Scripts" / "python.exe")
        return next((path for path in candidates if is_file(path)), None)

    @property
    def runs_here(self) -> bool:
        """Whether this process runs in its environment, as far as that can be told."""
        python = self.python
        return python is None or is_same(python.parent.parent, Path(sys.prefix))


def is_webui(folder: Path) -> bool:
    """Whether a folder is that of a WebUI."""
    return is_file(folder / "webui.py") and is_file(folder / "modules" / "shared.py")


def read_install(folder: Path) -> Install:
    """Read the folder of a WebUI. What cannot be read is left empty."""
    words = _command_line(folder)
    values = {option: _value_of(option, words) for option in _FOLDER_OPTIONS}
    data = folder / values["--data-dir"] if values["--data-dir"] else folder
    program = recognize(lambda module: _has_module(folder, module), lambda: _reserves_memory(folder))
    return Install(
        folder=folder,
        program=program,
        version=_version(folder),
        commit=read_commit(folder),
        data_folder=data,
        embeddings_folder=folder / values["--embeddings-dir"] if values["--embeddings-dir"] else data / "embeddings",
        options=tuple(dict.fromkeys(word.partition("=")[0] for word in words if word.startswith("--"))),
        settings=_settings(data / "config.json"),
    )


def find_extensions(folder: Path) -> list[Path]:
    """Return the copies of this extension in a WebUI's folder of extensions."""
    return sorted(path for path in _subfolders(folder) if is_file(path / SCRIPT))


def find_nested_extensions(folder: Path) -> list[Path]:
    """Return copies of this extension that are one level too deep, as unpacked archives are."""
    return sorted(inner for path in _subfolders(folder) for inner in _subfolders(path) if is_file(inner / SCRIPT))


def read_commit(folder: Path) -> str:
    """Return the first digits of the commit that is checked out in a folder; empty if that is not known. Needs no git."""
    git = folder / ".git"
    pointer = _text(git) if is_file(git) else ""
    if pointer.startswith("gitdir:"):  # a worktree or a submodule
        git = folder / pointer.removeprefix("gitdir:").strip()
    common = git / _text(git / "commondir").strip()
    head = _text(git / "HEAD").strip()
    if head.startswith("ref:"):
        name = head.removeprefix("ref:").strip()
        head = _text(git / name).strip() or _text(common / name).strip() or _packed(_text(common / "packed-refs"), name)
    return head[:8] if re.fullmatch(r"[0-9a-f]{40,64}", head) else ""


def read_version(folder: Path) -> str:
    """Return the version of a copy of this extension; empty if it is not known."""
    match = re.search(r'^__version__ = "([^"]+)"', _text(folder / "train_embedding" / "__init__.py"), re.MULTILINE)
    return match[1] if match else ""


def is_file(path: Path) -> bool:
    """Whether a path is a file; False for what is in a closed folder, where `Path.is_file` may raise."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_folder(path: Path) -> bool:
    """Whether a path is a folder; False for what is in a closed folder."""
    try:
        return path.is_dir()
    except OSError:
        return False


def is_same(path: Path, other: Path) -> bool:
    """Whether two paths lead to the same file or folder."""
    try:
        return path.samefile(other)
    except OSError:
        return False


def _packed(refs: str, name: str) -> str:
    return next((line.split()[0] for line in refs.splitlines() if line.endswith(f" {name}")), "")


def _version(folder: Path) -> str:
    """Forge names its version in a module; the others have it at the top of their changelog."""
    forge = re.search(r"^version = ['\"]([^'\"]+)", _text(folder / "modules_forge" / "forge_version.py"), re.MULTILINE)
    if forge:
        return forge[1]
    heading = re.search(r"^#+ *v?(\d[\w.+-]*)", _text(folder / "CHANGELOG.md"), re.MULTILINE)
    return heading[1] if heading else ""


def _has_module(folder: Path, module: str) -> bool:
    path = folder.joinpath(*module.split("."))
    return is_folder(path) or is_file(path.with_suffix(".py"))


def _reserves_memory(folder: Path) -> bool:
    return "minimum_memory_required" in _text(folder / "ldm_patched" / "modules" / "model_management.py")


def _command_line(folder: Path) -> list[str]:
    """The options that the WebUI is started with, as far as its environment or its start script tells."""
    text = os.environ.get("COMMANDLINE_ARGS", "")
    if not text and os.name == "nt":
        match = re.search(r"^\s*set\s+COMMANDLINE_ARGS=(.*)$", _text(folder / "webui-user.bat"), re.MULTILINE | re.IGNORECASE)
        text = match[1] if match else ""
    elif not text:
        match = re.search(r"^\s*(?:export\s+)?COMMANDLINE_ARGS=(.*)$", _text(folder / "webui-user.sh"), re.MULTILINE)
        text = " ".join(_split(match[1])) if match else ""
    return _split(text)


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:  # a quote that is not closed
        return text.split()


def _value_of(option: str, words: list[str]) -> str:
    for number, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name == option:
            return value if equals else "".join(words[number + 1 : number + 2])
    return ""


def _settings(file: Path) -> dict[str, Any]:
    try:
        values: object = json.loads(_text(file) or "{}")
    except ValueError:
        return {}
    return cast("dict[str, Any]", values) if isinstance(values, dict) else {}


def _subfolders(folder: Path) -> Iterable[Path]:
    try:
        return [path for path in folder.iterdir() if is_folder(path)]
    except OSError:
        return []


def _text(file: Path) -> str:
    """The text of a file; empty if there is none, or it cannot be read."""
    try:
        return read_regular_file(file, _MAX_FILE).decode("utf-8", "replace")
    except (OSError, ValueError):
        return ""
