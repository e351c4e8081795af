"""Packages that are missing, too old or broken, and the advice for each."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from train_embedding.services.diagnosis import packages
from train_embedding.services.diagnosis.packages import PACKAGES, Installed, installed_packages, is_older, package_checks
from train_embedding.services.diagnosis.probe import StageResult
from train_embedding.services.diagnosis.report import Check

ROOT = Path(__file__).parents[3]
GOOD = {"torch": "2.1.2", "diffusers": "0.31.0", "transformers": "4.30.2", "numpy": "1.26.2", "gradio": "3.41.2"}


def checks(
    versions: dict[str, str], results: dict[str, StageResult] | None = None, *, in_webui: bool = False
) -> dict[str, Check]:
    """Judge an environment with these packages, and all others in their oldest version."""
    found = [
        Installed(package, version, bool(version))
        for package in PACKAGES
        for version in [{**GOOD, **versions}.get(package.name, package.minimum)]
    ]
    return {check.name: check for check in package_checks(found, results or {}, in_webui=in_webui)}


def test_the_oldest_versions_are_those_of_pyproject() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    lists = re.findall(r"^(?:dependencies|app) = \[(.*?)\]$", text, re.MULTILINE | re.DOTALL)
    declared = dict(re.findall(r'"([\w-]+)>=([\d.]+)"', "".join(lists)))
    assert {package.name: package.minimum for package in PACKAGES if package.minimum} == declared


def test_diffusers_is_the_release_that_a_webui_gets() -> None:
    assert f'DIFFUSERS = "diffusers=={packages.DIFFUSERS_OF_WEBUI}"' in (ROOT / "install.py").read_text(encoding="utf-8")


def test_nothing_is_wrong_with_the_oldest_versions() -> None:
    found = checks({})
    assert [check for check in found.values() if check.level != "ok"] == []
    assert found["torch"].value == "2.1.2"
    assert found["torchvision"].value == "not installed (not needed)"
    assert "xformers" not in found, "what is not needed is listed only where it is installed"


def test_missing_diffusers_is_an_error_with_the_release_that_fits_transformers() -> None:
    check = checks({"diffusers": ""})["diffusers"]
    assert (check.value, check.level) == ("not installed", "error")
    assert '--no-deps "diffusers==0.31.0"' in check.advice
    newer = checks({"diffusers": "", "transformers": "5.1.0"})["diffusers"]
    assert '"diffusers>=0.31.0"' in newer.advice
    assert "--no-deps" not in newer.advice


def test_too_old_torch_is_an_error() -> None:
    check = checks({"torch": "2.0.1+cu118"})["torch"]
    assert (check.value, check.level) == ("2.0.1+cu118", "error")
    assert "2.1.2 or newer" in check.problem
    assert '"torch>=2.1.2"' in check.advice
    in_webui = checks({"torch": "2.0.1"}, in_webui=True)["torch"]
    assert "--reinstall-torch" in in_webui.advice
    assert "pip" not in in_webui.advice


def test_a_package_that_cannot_be_imported_is_named_with_the_reason() -> None:
    error = "ImportError: cannot import name 'SiglipImageProcessor'\nfrom transformers"
    check = checks({"diffusers": "0.35.0"}, {"diffusers": StageResult(error)})["diffusers"]
    assert check.level == "error"
    assert check.problem == "It cannot be imported: ImportError: cannot import name 'SiglipImageProcessor' from transformers"
    assert "diffusers==0.31.0" in check.advice


def test_a_package_for_which_there_is_no_memory_is_not_reinstalled() -> None:
    for error in (
        "OSError: [WinError 1455] The paging file is too small",
        "OSError: libcublas.so: failed to map segment from shared object",
    ):
        check = checks({}, {"torch": StageResult(error)})["torch"]
        assert check.level == "error"
        assert "paging file" in check.advice
        assert "pip" not in check.advice


def test_the_tab_needs_gradio_in_a_webui_only() -> None:
    assert checks({"gradio": ""})["gradio"].level == "note"
    assert checks({"gradio": ""}, in_webui=True)["gradio"].level == "error"
    broken = {"gradio": StageResult("ImportError: no")}
    assert checks({}, broken)["gradio"].level == "warning"
    assert checks({}, broken, in_webui=True)["gradio"].level == "error"


def test_numpy_that_torch_cannot_use_is_reported_at_numpy() -> None:
    results = {"torch": StageResult(facts={"numpy_problem": "Numpy is not available"})}
    found = checks({"numpy": "2.0.1"}, results)
    assert found["torch"].level == "ok"
    assert found["numpy"].level == "error"
    assert '"numpy<2"' in found["numpy"].advice


def test_what_needs_torch_is_not_blamed_where_torch_fails() -> None:
    results = {"torch": StageResult("OSError: [WinError 126]"), "diffusers": StageResult("It was not tried.", tried=False)}
    found = checks({}, results)
    assert (found["torch"].level, found["diffusers"].level) == ("error", "note")


def test_damaged_metadata_is_an_unknown_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "diffusers-9.dist-info").mkdir()
    (tmp_path / "diffusers-9.dist-info" / "METADATA").write_bytes(b"\xff\xfe\x00")
    monkeypatch.syspath_prepend(tmp_path)
    (found,) = [item for item in installed_packages() if item.package.name == "diffusers"]
    (check,) = package_checks([found], {}, in_webui=False)
    assert (check.value, check.level) == ("unknown version", "ok")


def test_an_empty_folder_that_an_uninstall_left_is_not_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "xformers").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert not packages._look_up(packages.Package("xformers", "xformers")).present


def test_versions_are_compared_by_their_numbers() -> None:
    assert is_older("2.1.1", "2.1.2")
    assert is_older("2.0.1+cu118", "2.1.2")
    assert is_older("1.9.4", "1.10")
    assert not is_older("2.13.0+cpu", "2.1.2")
    assert not is_older("2.1.2rc1", "2.1.2")
    assert not is_older("", "2.1.2"), "unknown"
    assert not is_older("1.0", ""), "no oldest version"
