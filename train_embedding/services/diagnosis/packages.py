"""Checks of the packages: which are installed, whether they are new enough, and whether they can be imported."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from train_embedding.errors import refusal_of
from train_embedding.services.diagnosis.probe import StageResult
from train_embedding.services.diagnosis.report import Check, Level, describe, quoted

DIFFUSERS_OF_WEBUI = "0.31.0"
"The release that install.py adds to a WebUI. Later ones do not import with the transformers of WebUI 1.10."
_NUMPY_2 = (2, 0)
_MATCHING_TRANSFORMERS = (4, 40)
_PAGING_FILE = "WinError 1455"
"Windows, where the paging file is too small for the libraries of torch."
_MORE_MEMORY = "Close other programs, or give the computer more memory; on Windows, enlarge the paging file."


@dataclass(frozen=True)
class Package:
    """A package that Train Embedding imports."""

    name: str
    "Its name on PyPI."
    module: str
    minimum: str = ""
    "The oldest version that works, as in pyproject.toml."
    use: Literal["always", "app", "optional"] = "always"
    "`app` is for the tab and the web app; without the others of `optional` nothing is wrong."


PACKAGES = (
    Package("torch", "torch", "2.1.2"),
    Package("torchvision", "torchvision", use="optional"),
    Package("diffusers", "diffusers", "0.31.0"),
    Package("transformers", "transformers", "4.30.2"),
    Package("accelerate", "accelerate", "0.21.0"),
    Package("safetensors", "safetensors", "0.4.2"),
    Package("numpy", "numpy", "1.26.2"),
    Package("pillow", "PIL", "9.5.0"),
    Package("pyyaml", "yaml", "6.0"),
    Package("filelock", "filelock", "3.12"),
    Package("tqdm", "tqdm", "4.65"),
    Package("gradio", "gradio", "3.41.2", "app"),
    Package("fastapi", "fastapi", "0.94.0", "app"),
    Package("uvicorn", "uvicorn", "0.22", "app"),
    Package("pandas", "pandas", "2.1", "app"),
    Package("jinja2", "jinja2", "3.0", "app"),
    Package("markupsafe", "markupsafe", "2.0", "app"),
    Package("xformers", "xformers", use="optional"),
    Package("prodigyopt", "prodigyopt", use="optional"),
    Package("onnxruntime", "onnxruntime", use="optional"),
    Package("tensorboard", "tensorboard", use="optional"),
    Package("pillow-heif", "pillow_heif", use="optional"),
    Package("pillow-avif-plugin", "pillow_avif", use="optional"),
    Package("pillow-jxl-plugin", "pillow_jxl", use="optional"),
)


@dataclass(frozen=True)
class Installed:
    """What can be said about a package without importing it."""

    package: Package
    version: str = ""
    "Empty if it is not known."
    present: bool = True


def installed_packages() -> list[Installed]:
    """Look up all packages, without importing any."""
    return [_look_up(package) for package in PACKAGES]


def package_checks(found: Iterable[Installed], results: Mapping[str, StageResult], *, in_webui: bool) -> Iterator[Check]:
    """Judge the packages.

    Args:
        found: What is installed.
        results: What the stages of the self-test found, by module.
        in_webui: Whether this is the environment of a WebUI, whose packages its own scripts install.
    """
    advisor = _Advisor({item.package.name: item.version for item in found}, in_webui)
    numpy_problem = str(results["torch"].facts.get("numpy_problem", "")) if "torch" in results else ""
    for item in found:
        if item.package.name == "numpy" and numpy_problem:
            yield _numpy_check(item, numpy_problem, advisor)
        elif item.present or item.package.use != "optional" or item.package.name == "torchvision":
            yield _check(item, results.get(item.package.module, StageResult()), advisor)


def is_older(version: str, minimum: str) -> bool:
    """Whether a version is older than another. What follows the numbers, such as "+cu121" or "rc1", does not count."""
    return bool(minimum) and bool(_numbers(version)) and _numbers(version) < _numbers(minimum)


def _look_up(package: Package) -> Installed:
    try:
        version: str | None = importlib.metadata.version(package.name)
    except importlib.metadata.PackageNotFoundError:
        version = None
    except (KeyError, TypeError, AttributeError, ValueError, OSError):  # its metadata is damaged
        version = ""
    try:
        spec = importlib.util.find_spec(package.module)
    except (ImportError, ValueError, AttributeError):
        spec = None
    # An uninstall may leave an empty folder behind, which has no origin.
    return Installed(package, version or "", version is not None or (spec is not None and spec.origin is not None))


def _check(item: Installed, result: StageResult, advisor: _Advisor) -> Check:
    package, version = item.package, item.version or "unknown version"
    if not item.present:
        return _missing(package, advisor)
    if is_older(item.version, package.minimum):
        problem = f"It is too old: Train Embedding needs {package.minimum} or newer."
        return Check(package.name, version, _level(package, advisor), problem, advisor.update(package))
    if not result.tried:
        return Check(package.name, version, "note", result.error)
    if result.error:
        problem = f"It cannot be imported: {describe(result.error)}"
        memory = refusal_of(ImportError(result.error)) is not None or _PAGING_FILE in result.error
        return Check(
            package.name, version, _level(package, advisor), problem, _MORE_MEMORY if memory else advisor.repair(package)
        )
    return Check(package.name, version)


def _missing(package: Package, advisor: _Advisor) -> Check:
    if package.use == "optional":
        return Check(package.name, "not installed (not needed)")
    if package.use == "app" and not advisor.in_webui:
        return Check(
            package.name, "not installed", "note", "The web app needs it; the command line does not.", advisor.install(package)
        )
    what = "The tab needs it." if package.use == "app" else "Train Embedding needs it."
    return Check(package.name, "not installed", "error", what, advisor.install(package))


def _numpy_check(item: Installed, problem: str, advisor: _Advisor) -> Check:
    advice = advisor.pip("numpy<2") if _numbers(item.version) >= _NUMPY_2 else advisor.repair(item.package)
    return Check("numpy", item.version, "error", f"torch cannot use it: {describe(problem)}", advice)


def _level(package: Package, advisor: _Advisor) -> Level:
    if package.use == "optional":
        return "warning"
    return "warning" if package.use == "app" and not advisor.in_webui else "error"


class _Advisor:
    """Says how to install packages: a WebUI has its own ways, and must keep the versions that it was made for."""

    def __init__(self, versions: Mapping[str, str], in_webui: bool) -> None:
        self._versions = versions
        self.in_webui = in_webui

    def install(self, package: Package) -> str:
        if package.name == "diffusers":
            return self._fitting_diffusers()
        if self.in_webui:
            return "Start the WebUI without --skip-install; it installs what it needs."
        return self.pip(f"{package.name}>={package.minimum}")

    def update(self, package: Package) -> str:
        if package.name == "diffusers":
            return self._fitting_diffusers()
        if self.in_webui:
            hint = " and start it with --reinstall-torch" if package.name == "torch" else ""
            return f"Update the WebUI{hint}; it installs the version that it was made for."
        return self.pip(f"{package.name}>={package.minimum}", "--upgrade")

    def repair(self, package: Package) -> str:
        if package.name == "diffusers":
            return self._fitting_diffusers()
        if self.in_webui:
            if package.name in ("torch", "torchvision"):
                return "Start the WebUI with --reinstall-torch."
            return 'Rename the WebUI\'s folder "venv" and start the WebUI; it makes a new one.'
        version = self._versions.get(package.name, "").partition("+")[0]
        return self.pip(f"{package.name}=={version}" if version else package.name, "--force-reinstall", "--no-deps")

    def pip(self, requirement: str, *options: str) -> str:
        """Return a command that installs a package into this environment."""
        words = [quoted(sys.executable), "-m", "pip", "install", *options]
        return f'Run: {" ".join(words)} "{requirement}"'

    def _fitting_diffusers(self) -> str:
        """The release for old versions of transformers; without dependencies, so that nothing else is replaced."""
        transformers = self._versions.get("transformers", "")
        if self.in_webui or (transformers and _numbers(transformers) < _MATCHING_TRANSFORMERS):
            return self.pip(f"diffusers=={DIFFUSERS_OF_WEBUI}", "--force-reinstall", "--no-deps")
        return self.pip(f"diffusers>={DIFFUSERS_OF_WEBUI}", "--upgrade")


def _numbers(version: str) -> tuple[int, ...]:
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(number) for number in match[0].split(".")) if match else ()
