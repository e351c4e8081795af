"""diffusers' examples/textual_inversion/textual_inversion.py, run by an interpreter that has its packages.

The time of a step comes from the progress bar, which is updated at the end of each step: the moment is recorded at which each
count first arrives in the pipe. Loading the model and saving the embedding are not included.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers import Steps
from benchmarks.peers.clock import StepClock

SCRIPT = Path("examples/textual_inversion/textual_inversion.py")
NEVER = 1_000_000
_COUNT = re.compile(r"Steps:[^\r]*?(\d+)/\d+ \[")
_STUB = '''"""Of torchvision, what the example uses; PyPI's own does not import beside every torch."""

import random

from PIL import ImageOps


class RandomHorizontalFlip:
    def __init__(self, p):
        self.p = p

    def __call__(self, image):
        return ImageOps.mirror(image) if random.random() < self.p else image
'''


@dataclass(frozen=True)
class DiffusersExample:
    """diffusers' example.

    It has no options that make it faster on a CPU: xformers, TF32, half precision and 8-bit optimizers are for GPUs. It uses
    torch's fused attention by default, and gradient checkpointing, which takes time, is off.

    Attributes:
        checkout: A clone of diffusers, whose `src` is imported.
        model: A diffusers folder.
        work: Folder for its output.
    """

    checkout: Path
    python: Path
    model: Path
    images: Path
    work: Path
    resolution: int
    threads: int
    name: str = "diffusers' example"

    def torch_version(self) -> str:
        command = [str(self.python), "-c", "import torch; print(torch.__version__)"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def measure(self, steps: int) -> Steps:
        last, kept = 0, ""
        with subprocess.Popen(
            self._command(steps + 1), env=self._environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, bufsize=0
        ) as process:
            clock = StepClock(process.pid)
            assert process.stderr is not None
            for text in _arriving(process.stderr.fileno()):
                kept = (kept + text)[-4000:]
                count = max((int(found) for found in _COUNT.findall(kept)), default=0)
                if count > last + 1:
                    process.kill()
                    raise RuntimeError("Steps ended faster than the progress bar was read.")
                if count > last:
                    last = count
                    clock.tick()
        if process.returncode or last != steps + 1:
            raise RuntimeError(f"diffusers' example ended with {process.returncode} after {last} steps:\n{kept}")
        return clock.steps()

    def _command(self, steps: int) -> list[str]:
        options: dict[str, str | int | Path] = {
            "pretrained_model_name_or_path": self.model,
            "train_data_dir": self.images,
            "output_dir": self.work / "output",
            "learnable_property": "object",
            "placeholder_token": "<te-benchmark>",
            "initializer_token": "star",
            "resolution": self.resolution,
            "train_batch_size": 1,
            "gradient_accumulation_steps": 1,
            "max_train_steps": steps,
            "learning_rate": "5e-3",
            "lr_scheduler": "constant",
            "lr_warmup_steps": 0,
            "mixed_precision": "no",
            "save_steps": NEVER,
            "checkpointing_steps": NEVER,
        }
        listed = [f"--{name}={value}" for name, value in options.items()]
        return [str(self.python), str(self.checkout / SCRIPT), *listed]

    def _environment(self) -> dict[str, str]:
        paths = [self.checkout / "src"]
        if not self._imports_torchvision():
            paths.append(self._stub())
        offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
        threads = {"OMP_NUM_THREADS": str(self.threads), "MKL_NUM_THREADS": str(self.threads)}
        return {**os.environ, **offline, **threads, "PYTHONPATH": os.pathsep.join(str(path.resolve()) for path in paths)}

    def _imports_torchvision(self) -> bool:
        command = [str(self.python), "-c", "from torchvision import transforms"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def _stub(self) -> Path:
        folder = self.work / "stubs"
        (folder / "torchvision").mkdir(parents=True, exist_ok=True)
        (folder / "torchvision" / "__init__.py").touch()
        (folder / "torchvision" / "transforms.py").write_text(_STUB, encoding="utf-8")
        return folder


def _arriving(descriptor: int) -> Iterator[str]:
    """Yield the output of a pipe as it arrives."""
    while piece := os.read(descriptor, 4096):
        yield piece.decode(errors="replace")
