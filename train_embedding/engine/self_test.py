"""A script that imports packages in a process of its own, where a crash or a hang does no harm, and tries the devices.

Its arguments are the names of stages: modules to import, or "device". Before and after each it prints a line of JSON behind
`MARK`; whatever else appears on its output was printed by the packages.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

MARK = "\x1etrain-embedding "
DEVICE = "device"


def main(stages: list[str]) -> None:
    """Run the stages in this process."""
    # The script's own folder must not hide other modules, and this package must be found from every working folder.
    sys.path[0] = str(Path(__file__).resolve().parents[2])
    for stage in stages:
        _send({"begin": stage})
        try:
            facts = STAGES.get(stage, lambda name=stage: _import(name))()
        except BaseException as error:  # noqa: BLE001 - sent to the parent; packages may also call sys.exit
            _send({"end": stage, "error": f"{type(error).__name__}: {error}"})
        else:
            _send({"end": stage, "error": "", "facts": facts})


def _send(values: dict[str, Any]) -> None:
    sys.stdout.write(f"{MARK}{json.dumps(values)}\n")
    sys.stdout.flush()


def _import(module: str) -> dict[str, Any]:
    importlib.import_module(module)
    return {}


def _torch() -> dict[str, Any]:
    import torch

    matrix = torch.ones(2, 2) @ torch.ones(2, 2)
    facts = {"cuda_build": torch.version.cuda or "", "hip_build": getattr(torch.version, "hip", None) or ""}
    try:
        matrix.numpy()
    except RuntimeError as error:  # "Numpy is not available": torch before 2.3 with numpy 2
        return {**facts, "numpy_problem": str(error)}
    return facts


def _transformers() -> dict[str, Any]:
    from transformers import CLIPTextModel, CLIPTokenizer  # pyright: ignore[reportUnusedImport] # noqa: F401

    return {}


def _diffusers() -> dict[str, Any]:
    from diffusers import AutoencoderKL, UNet2DConditionModel  # pyright: ignore[reportUnusedImport] # noqa: F401
    from diffusers.loaders import single_file_utils  # pyright: ignore[reportUnusedImport] # noqa: F401

    return {}


def _pillow() -> dict[str, Any]:
    from PIL import Image

    Image.new("RGB", (2, 2)).convert("L").tobytes()
    return {}


def _safetensors() -> dict[str, Any]:
    import torch
    from safetensors.torch import load, save

    load(save({"a": torch.ones(1)}))
    return {}


def _devices() -> dict[str, Any]:
    import torch

    from train_embedding.engine.runtime.bf16_copy import cpu_has_amx

    found: list[dict[str, Any]] = []
    problem = ""
    try:
        for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
            found.append(_cuda_device(number))
        if not found and (torch.version.cuda or getattr(torch.version, "hip", None)):
            torch.cuda.init()
            problem = "torch finds no GPU."
    except (RuntimeError, AssertionError) as error:
        problem = str(error)
    for kind in ("mps", "xpu"):
        module = torch.backends.mps if kind == "mps" else getattr(torch, kind, None)
        if module is not None and module.is_available():
            found.append({"name": kind.upper(), **_trial(kind)})
    precision = "bfloat16" if cpu_has_amx() else _trial("cpu")["precision"]  # of a UNet as large as that of SD1
    return {"devices": found, "cuda_problem": problem, "cpu_precision": precision}


def _cuda_device(number: int) -> dict[str, Any]:
    import torch

    cuda: Any = torch.cuda  # its annotations are incomplete in some releases
    properties = cuda.get_device_properties(number)
    facts: dict[str, Any] = {"name": properties.name, "memory": properties.total_memory, **_trial(f"cuda:{number}")}
    if not facts["problem"]:
        facts["free"] = cuda.mem_get_info(number)[0]
    return facts


def _trial(name: str) -> dict[str, Any]:
    """Compute something on a device. A GPU that is newer than torch is listed, but cannot."""
    import torch

    from train_embedding.engine.devices import support_of
    from train_embedding.engine.runtime.precision import autocast_dtype

    device = torch.device(name)
    dtype = autocast_dtype(device) if support_of(device).autocast else torch.float32
    try:
        right = (torch.ones(8, device=device, dtype=dtype) * 2).sum().item() == 16
        problem = "" if right else "It computes wrong results."
    except RuntimeError as error:
        problem = str(error)
    return {"device": name, "precision": str(dtype).removeprefix("torch."), "problem": problem}


STAGES: dict[str, Callable[[], dict[str, Any]]] = {
    "torch": _torch,
    "transformers": _transformers,
    "diffusers": _diffusers,
    "PIL": _pillow,
    "safetensors": _safetensors,
    DEVICE: _devices,
}
"Stages that do more than import a module."

if __name__ == "__main__":
    main(sys.argv[1:])
