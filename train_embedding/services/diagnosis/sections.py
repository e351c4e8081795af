"""The sections of a diagnosis: the program, the WebUI around it, folders, packages and device."""

from __future__ import annotations

import locale
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

from train_embedding import __version__
from train_embedding.engine import self_test
from train_embedding.hosts.recognition import OWN_FOLDER, SUPPORTED
from train_embedding.services.diagnosis.devices import device_checks
from train_embedding.services.diagnosis.folders import folder_check, leftover_checks
from train_embedding.services.diagnosis.install import (
    Install,
    find_extensions,
    find_nested_extensions,
    is_folder,
    is_same,
    is_webui,
    read_commit,
    read_install,
    read_version,
)
from train_embedding.services.diagnosis.packages import installed_packages, is_older, package_checks
from train_embedding.services.diagnosis.probe import Probe, StageResult
from train_embedding.services.diagnosis.report import Check, Section, quoted, run_checks, shown_path

OLDEST_WEBUI = "1.10"
ROOT = Path(__file__).resolve().parents[3]
"The folder that the package is in: the extension's own folder, or site-packages."
_NEWEST_TESTED_PYTHON = (3, 13)


def find_webui(working_folder: Path) -> Path | None:
    """Return the WebUI that a folder is inside of, or else the one that this extension is installed in; None without one."""
    logical = Path(os.environ.get("PWD", ""))  # getcwd() resolves links, and an extension may be linked into the WebUI
    starts = [working_folder, ROOT]
    if logical.is_absolute() and is_same(logical, working_folder):
        starts.insert(0, logical)
    return next((folder for start in starts for folder in (start, *start.parents) if is_webui(folder)), None)


def diagnose(webui: Path | None, data: Path, *, wants_webui: bool = False) -> Iterator[Section]:
    """Check everything, a section at a time. Never raises for what is wrong; that is what the checks say.

    Args:
        webui: The folder of a WebUI, or None to check the use without one.
        data: The data folder without a WebUI.
        wants_webui: Whether `webui` was named by the user, and must be one.
    """
    found = installed_packages()
    stages = [item.package.module for item in found if item.present]
    with Probe([*stages, self_test.DEVICE] if "torch" in stages else stages) as running:
        yield run_checks("Train Embedding", _program_checks)
        install = read_install(webui) if webui is not None and is_webui(webui) else None
        if install is not None:
            yield run_checks("WebUI", lambda: _webui_checks(install))
        elif wants_webui and webui is not None:
            yield run_checks("WebUI", lambda: [_no_webui(webui)])
        else:
            yield Section("WebUI", (Check("folder", "none; stand-alone use is checked"),))
        yield run_checks("Folders", lambda: _folder_checks(install, data))
        results = running.results()
    in_webui = install is not None and install.runs_here
    yield run_checks("Packages", lambda: package_checks(found, results, in_webui=in_webui))
    torch = results.get("torch", StageResult("torch is not installed."))
    yield run_checks("Device", lambda: device_checks(results.get(self_test.DEVICE, StageResult(_NO_TORCH, tried=False)), torch))


_NO_TORCH = "It was not tried, because torch is not installed."


def _program_checks() -> Iterator[Check]:
    commit = read_commit(ROOT)
    yield Check("version", f"{__version__} ({commit})" if commit else __version__)
    yield Check("folder", shown_path(ROOT / "train_embedding"))
    version = platform.python_version()
    if sys.version_info[:2] > _NEWEST_TESTED_PYTHON:
        newest = ".".join(map(str, _NEWEST_TESTED_PYTHON))
        yield Check("Python", version, "note", f"Train Embedding was tested with Python 3.10 to {newest}.")
    else:
        yield Check("Python", version)
    yield Check("interpreter", shown_path(Path(sys.executable or "unknown")))
    yield Check("system", f"{platform.platform()}, {locale.getpreferredencoding(False)}")


def _webui_checks(install: Install) -> Iterator[Check]:
    name = f"{install.program.name} {install.version}".strip()
    value = f"{name} ({install.commit})" if install.commit else name
    if install.program.kind == "unsupported":
        yield Check("program", value, "error", f"Train Embedding does not support {install.program.name} yet.", SUPPORTED)
    elif install.program.kind == "a1111" and is_older(install.version, OLDEST_WEBUI):
        yield Check(
            "program", value, "warning", f"Train Embedding was tested with version {OLDEST_WEBUI}.1.", "Update the WebUI."
        )
    else:
        yield Check("program", value)
    yield Check("folder", shown_path(install.folder))
    if install.data_folder != install.folder:
        yield Check("data folder", shown_path(install.data_folder))
    yield Check("options", " ".join(install.options) or "none found")
    yield Check("checkpoint", str(install.settings.get("sd_model_checkpoint") or "none chosen yet"))
    yield from _extension_checks(install)
    yield _interpreter_check(install)


def _extension_checks(install: Install) -> Iterator[Check]:
    copies = find_extensions(install.extensions_folder)
    for copy in copies:
        version, commit = read_version(copy), read_commit(copy)
        value = f"{shown_path(copy)}, version {version or 'unknown'}{f' ({commit})' if commit else ''}"
        if copy.name in (install.settings.get("disabled_extensions") or ()) or install.settings.get("disable_all_extensions") in (
            "extra",
            "all",
        ):
            yield Check("extension", value, "error", "It is switched off in the WebUI.", "Switch it on in the tab Extensions.")
        else:
            yield Check("extension", value)
    if len(copies) > 1:
        yield Check("extension", "", "error", "There are several copies of Train Embedding.", "Delete all but one.")
    if not copies:
        nested = find_nested_extensions(install.extensions_folder)
        folder = shown_path(install.extensions_folder)
        if nested:
            problem = f'It is one folder too deep: "{shown_path(nested[0])}".'
            yield Check("extension", folder, "error", problem, f'Move that folder into "{folder}".')
        else:
            advice = "Install it in the WebUI's tab Extensions, or put this folder there."
            yield Check("extension", folder, "error", "Train Embedding is not in the WebUI's folder of extensions.", advice)


def _interpreter_check(install: Install) -> Check:
    python = install.python
    if python is None:
        return Check("environment", "no virtual environment found")
    if install.runs_here:
        return Check("environment", shown_path(python.parent.parent))
    copies = find_extensions(install.extensions_folder)
    where = f"In the folder {quoted(copies[0])}, run" if copies else "Run"
    return Check(
        "environment",
        shown_path(python.parent.parent),
        "warning",
        "Doctor runs in another Python environment, so what it says about packages and device may not be true in the WebUI.",
        f"{where}: {quoted(python)} -m train_embedding doctor",
    )


def _no_webui(folder: Path) -> Check:
    what = "It is not the folder of a WebUI." if is_folder(folder) else "There is no such folder, or it is closed."
    return Check("folder", shown_path(folder), "error", what, "Name the folder that contains webui.py.")


def _folder_checks(install: Install | None, data: Path) -> Iterator[Check]:
    if install is None:
        other = "You can choose another folder with --data."
        embeddings, runs = data / "embeddings", data / "runs"
        yield folder_check("data", data, other)
    else:
        other = "The folder is the WebUI's; its options --data-dir and --embeddings-dir choose another."
        embeddings, runs = install.embeddings_folder, install.data_folder / OWN_FOLDER / "runs"
        yield folder_check("data", runs.parent, other)
    yield folder_check("embeddings", embeddings, other)
    yield folder_check("runs", runs, other)
    yield from leftover_checks(embeddings, runs)
