"""The WebUI's trainer, in a WebUI that runs on this machine and has loaded the benchmark's checkpoint.

The time of a step comes from the loss log, `textual_inversion_loss.csv`. The trainer appends a line at the end of each step, so
the modification time of the file is the end of the step. It is enough to look once between two steps, and the WebUI's process
does no extra work. The progress API would be answered by the measured process, and a difference of whole runs would include the
preparation of the data, which takes longer than the noise of a step.
"""

from __future__ import annotations

import csv
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.peers import Steps
from benchmarks.peers.clock import StepClock, pid_on_port

FAST = {
    "training_xattention_optimizations": True,
    "cross_attention_optimization": "sdp - scaled dot product",
    "unload_models_when_training": True,
}
"Settings for faster training with less memory. The WebUI always caches latents and always uses gradient checkpointing."
QUIET = {
    "training_write_csv_every": 1,
    "save_training_settings_to_txt": False,
    "training_enable_tensorboard": False,
    "save_optimizer_state": False,
}
NEVER = 1_000_000
"Steps between saves. With 0 the trainer would not create the folder of its loss log, and would fail."
LOOK_EVERY = 0.02


class WebUITrainer:
    """The WebUI's trainer.

    Args:
        url: Of a WebUI that was started with --api.
        folder: Its data folder, from which the trained embeddings are removed.
        images: The training images.
        log_folder: Folder for the trainer's logs.
        resolution: Width and height of training.
    """

    name = "WebUI's own"

    def __init__(self, url: str, folder: Path, images: Path, log_folder: Path, resolution: int) -> None:
        self._url = url.rstrip("/")
        self._folder = folder
        self._images = images.resolve()
        self._log_folder = log_folder.resolve()
        self._resolution = resolution

    def checkpoint(self) -> str:
        """Return the title of the loaded checkpoint."""
        return str(self._call("/sdapi/v1/options")["sd_model_checkpoint"])

    def measure(self, steps: int) -> Steps:
        name = f"te-benchmark-{time.time_ns()}"
        created = {"name": name, "num_vectors_per_token": 1, "overwrite_old": True, "init_text": "star"}
        with self._settings({**FAST, **QUIET}):
            self._call("/sdapi/v1/create/embedding", created)
            try:
                return self._train(name, steps + 1)
            finally:
                (self._folder / "embeddings" / f"{name}.pt").unlink(missing_ok=True)

    def _train(self, name: str, steps: int) -> Steps:
        answers: list[str] = []
        asks = threading.Thread(target=lambda: answers.append(self._answer(self._arguments(name, steps))), daemon=True)
        clock = StepClock(pid_on_port(urlsplit(self._url).port or 80))
        asks.start()
        ended = 0
        while ended < steps:
            running = asks.is_alive()
            file = next(self._log_folder.glob(f"*/{name}/textual_inversion_loss.csv"), None)
            losses, when = ([], 0.0) if file is None else _read(file)
            if len(losses) > ended + 1:
                raise RuntimeError("Steps ended faster than their log was read.")
            if len(losses) > ended:
                ended = len(losses)
                if not isfinite(losses[-1]):
                    raise RuntimeError(f"The WebUI's loss is {losses[-1]}.")
                clock.tick(when)
            elif not running:
                raise RuntimeError(f"The WebUI's training ended after {ended} of {steps} steps: {''.join(answers)}")
            time.sleep(LOOK_EVERY)
        asks.join()
        return clock.steps()

    def _answer(self, body: dict[str, Any]) -> str:
        """Return the WebUI's answer at the end of training, or the error."""
        try:
            return str(self._call("/sdapi/v1/train/embedding", body).get("info", ""))
        except (OSError, ValueError) as error:
            return f"{type(error).__name__}: {error}"

    def _arguments(self, name: str, steps: int) -> dict[str, Any]:
        return training_arguments(name, steps, self._images, self._log_folder, self._resolution)

    @contextmanager
    def _settings(self, wanted: dict[str, Any]) -> Iterator[None]:
        before = self._call("/sdapi/v1/options")
        try:
            self._call("/sdapi/v1/options", wanted)
            yield
        finally:
            self._call("/sdapi/v1/options", {key: before[key] for key in wanted})

    def _call(self, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"The WebUI answered {error.code} to {path}: {error.read()[:500]!r}") from error


def training_arguments(name: str, steps: int, images: Path, log_folder: Path, side: int) -> dict[str, Any]:
    """Return the arguments of the WebUI's trainer, for batch size 1 and without previews.

    Args:
        name: Of an embedding that the WebUI has loaded.
        steps: Steps in all.
        images: The training images.
        log_folder: Folder for its logs.
        side: Width and height of training.
    """
    training = {"embedding_name": name, "learn_rate": "0.005", "batch_size": 1, "gradient_step": 1, "steps": steps}
    data = {"data_root": str(images), "log_directory": str(log_folder), "template_filename": "subject.txt"}
    size = {"training_width": side, "training_height": side, "varsize": False, "use_weight": False}
    choices = {"clip_grad_mode": "disabled", "clip_grad_value": "0.1", "shuffle_tags": False, "tag_drop_out": 0}
    saving = {"create_image_every": 0, "save_embedding_every": NEVER, "save_image_with_stored_embedding": False}
    preview = {"preview_from_txt2img": False, "preview_prompt": "", "preview_negative_prompt": "", "preview_steps": 1}
    preview |= {"preview_sampler_name": "Euler", "preview_cfg_scale": 1, "preview_seed": 1}
    preview |= {"preview_width": side, "preview_height": side}
    sampling = {"latent_sampling_method": "once", "id_task": f"task({name})"}
    return {**training, **data, **size, **choices, **saving, **preview, **sampling}


def _read(file: Path) -> tuple[list[float], float]:
    """Return the losses in the log, and when the last step ended."""
    whole = file.read_text(encoding="utf-8").rpartition("\n")[0]
    return [float(row["loss"]) for row in csv.DictReader(whole.splitlines())], file.stat().st_mtime_ns / 1e9
