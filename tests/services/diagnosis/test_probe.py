"""Packages that crash, hang, exit or print are survived, each under its own name."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from train_embedding.engine import self_test
from train_embedding.engine.runtime.bf16_copy import cpu_has_amx
from train_embedding.services.diagnosis.probe import NOT_TRIED, Probe, StageResult


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose modules the probe can import."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def run(*stages: str, seconds: float = 60.0) -> dict[str, StageResult]:
    with Probe(stages, seconds) as probe:
        return probe.results()


def test_good_and_bad_packages(modules: Path) -> None:
    (modules / "te_good.py").write_text(f"print('noise'); print({self_test.MARK!r}[1:])")
    (modules / "te_raises.py").write_text("raise ImportError('DLL load failed')")
    (modules / "te_exits.py").write_text("raise SystemExit(3)")
    (modules / "te_aborts.py").write_text("import os; print('Illegal instruction', flush=True); os.abort()")
    found = run("te_good", "te_raises", "te_exits", "te_aborts", "te_missing", "json")
    assert found["te_good"] == found["json"] == StageResult()
    assert found["te_raises"].error == "ImportError: DLL load failed"
    assert found["te_exits"].error == "SystemExit: 3"
    assert "crashed Python" in found["te_aborts"].error
    assert "Illegal instruction" in found["te_aborts"].error
    assert found["te_missing"].error.startswith("ModuleNotFoundError")


def test_a_package_that_hangs_is_given_up(modules: Path) -> None:
    (modules / "te_hangs.py").write_text("import time; time.sleep(600)")
    found = run("te_hangs", "json", seconds=5.0)
    assert "did not answer" in found["te_hangs"].error
    assert found["json"] == StageResult()


def test_what_needs_torch_is_not_tried_without_it(modules: Path) -> None:
    (modules / "torch.py").write_text("raise OSError('libcudart.so.12: cannot open shared object file')")
    found = run("torch", "json", "diffusers", self_test.DEVICE)
    assert "libcudart" in found["torch"].error
    assert found["json"] == StageResult()
    assert found["diffusers"] == found[self_test.DEVICE] == StageResult(NOT_TRIED, tried=False)


def test_a_python_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    assert "could not be started" in run("json")["json"].error


def test_torch_of_this_environment_and_its_devices() -> None:
    found = run("torch", self_test.DEVICE)
    assert not found["torch"].error
    assert "numpy_problem" not in found["torch"].facts
    assert not found[self_test.DEVICE].error
    assert found[self_test.DEVICE].facts["cpu_precision"] == ("bfloat16" if cpu_has_amx() else "float32")
