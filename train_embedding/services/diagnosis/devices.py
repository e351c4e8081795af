"""Checks of the devices that torch can compute on, and of their memory."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from train_embedding.main_memory import main_memory
from train_embedding.services.diagnosis.probe import StageResult
from train_embedding.services.diagnosis.report import Check, describe, shown_size

SMALLEST_GPU = 4 * 10**9
"Bytes. Stable Diffusion 1.5 at 512×512 needs about 4 GB by our estimate; cards report a little less than they are sold with."


def device_checks(result: StageResult, torch: StageResult) -> Iterator[Check]:
    """Judge the devices.

    Args:
        result: What the self-test's stage "device" found.
        torch: What its stage "torch" found.
    """
    facts = result.facts
    if not result.tried:
        yield Check("GPU", "unknown", "note", result.error)
    elif result.error:
        yield Check("GPU", "unknown", "error", f"torch cannot list the devices: {describe(result.error)}", _DRIVER)
    else:
        found = [_device(values) for values in facts["devices"]]
        yield from found
        if not found:
            yield _no_gpu(str(facts["cuda_problem"]), torch.facts)
    precision = f", {facts['cpu_precision']}" if "cpu_precision" in facts else ""
    yield Check("CPU", f"{_processor()}, {os.cpu_count()} threads{precision}")
    total, free = main_memory()
    yield Check("memory", f"{shown_size(total)}, {shown_size(free)} free" if total else "unknown")


_DRIVER = "Update the driver of the GPU, and restart the computer."


def _device(values: dict[str, Any]) -> Check:
    memory = [shown_size(values["memory"])] if "memory" in values else []
    free = [f"{shown_size(values['free'])} free"] if "free" in values else []
    value = ", ".join([values["name"], *memory, *free, values["precision"]])
    if values["problem"]:
        problem = f"torch cannot compute on it: {describe(values['problem'])}"
        advice = "Install a version of torch that supports this GPU. A new GPU needs a newer torch, an old one an older torch."
        return Check(values["device"], value, "error", problem, advice)
    if values.get("memory", SMALLEST_GPU) < SMALLEST_GPU:
        problem = "Training Stable Diffusion 1.5 at 512×512 needs about 4 GB by our estimate."
        return Check(values["device"], value, "warning", problem, "Train at a smaller size, such as 384×384, with batch size 1.")
    return Check(values["device"], value)


def _no_gpu(cuda_problem: str, torch: dict[str, Any]) -> Check:
    slow = "Training runs on the CPU, which takes hours for Stable Diffusion 1.5."
    if torch.get("cuda_build") or torch.get("hip_build"):
        build = f"torch is built for {'CUDA ' + torch['cuda_build'] if torch.get('cuda_build') else 'ROCm ' + torch['hip_build']}"
        if _has_nvidia_driver():
            return Check("GPU", "not usable", "error", f"{build}, but cannot use the GPU: {describe(cuda_problem)}", _DRIVER)
        return Check("GPU", "none", "note", f"{build}, but there is no driver for a GPU. {slow}")
    if _has_nvidia_driver():
        advice = "Install torch with CUDA: https://pytorch.org/get-started/locally/"
        return Check("GPU", "not used", "warning", f"There is a GPU, but this torch is built without CUDA. {slow}", advice)
    return Check("GPU", "none", "note", slow)


def _has_nvidia_driver() -> bool:
    return shutil.which("nvidia-smi") is not None or Path("/proc/driver/nvidia/version").exists()


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:  # not on Linux
        pass
    return platform.processor() or platform.machine()
