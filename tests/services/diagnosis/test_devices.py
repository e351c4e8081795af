"""GPUs that are there, missing, too small, without a driver, or not supported by torch."""

from __future__ import annotations

from typing import Any

import pytest

from train_embedding.main_memory import main_memory
from train_embedding.services.diagnosis import devices
from train_embedding.services.diagnosis.devices import device_checks
from train_embedding.services.diagnosis.probe import StageResult
from train_embedding.services.diagnosis.report import Check

CUDA = StageResult(facts={"cuda_build": "12.1", "hip_build": ""})
CPU_ONLY = StageResult(facts={"cuda_build": "", "hip_build": ""})


def gpu(**values: Any) -> dict[str, Any]:
    return {
        "device": "cuda:0",
        "name": "RTX",
        "memory": 24 * 2**30,
        "free": 2**30,
        "precision": "bfloat16",
        "problem": "",
        **values,
    }


def judged(found: list[dict[str, Any]], torch: StageResult = CUDA, problem: str = "") -> Check:
    facts = {"devices": found, "cuda_problem": problem, "cpu_precision": "float32"}
    first, *rest = device_checks(StageResult(facts=facts), torch)
    assert [check.name for check in rest] == ["CPU", "memory"]
    return first


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.setattr(devices, "_has_nvidia_driver", lambda: getattr(request, "param", True))


def test_a_gpu_with_its_memory_and_precision() -> None:
    assert judged([gpu()]) == Check("cuda:0", "RTX, 24.0 GiB, 1.0 GiB free, bfloat16")


def test_a_gpu_that_torch_does_not_support_is_an_error() -> None:
    check = judged([gpu(problem="CUDA error: no kernel image is available for execution on the device")])
    assert check.level == "error"
    assert "no kernel image" in check.problem


def test_a_small_gpu_is_a_warning() -> None:
    assert judged([gpu(memory=2 * 2**30)]).level == "warning"


@pytest.mark.usefixtures("driver")
def test_a_driver_that_does_not_work_is_an_error() -> None:
    check = judged([], problem="The NVIDIA driver on your system is too old (found version 11040).")
    assert check.level == "error"
    assert "too old" in check.problem
    assert "driver" in check.advice


@pytest.mark.usefixtures("driver")
def test_a_gpu_that_this_torch_cannot_use_is_a_warning() -> None:
    assert "without CUDA" in judged([], CPU_ONLY).problem


@pytest.mark.usefixtures("driver")
@pytest.mark.parametrize("driver", [False], indirect=True)
def test_no_gpu_is_a_note() -> None:
    for torch in (CUDA, CPU_ONLY):
        check = judged([], torch)
        assert (check.value, check.level) == ("none", "note")
        assert "CPU" in check.problem


def test_without_torch_nothing_is_blamed_on_the_device() -> None:
    first, *_ = device_checks(StageResult("It was not tried.", tried=False), StageResult("ImportError"))
    assert (first.value, first.level) == ("unknown", "note")
    first, *_ = device_checks(StageResult("It crashed Python (SIGSEGV)."), CUDA)
    assert first.level == "error"


def test_main_memory_is_known_here() -> None:
    total, free = main_memory()
    assert total > free > 0
