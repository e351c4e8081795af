"""Stand-ins for the modules of the WebUI and of Forge: as much of each as a host touches. tests/webui has the real ones."""

from __future__ import annotations

import threading
import types
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

NAMES = (
    "call_queue", "devices", "launch_utils", "lowvram", "paths_internal", "processing", "progress", "sd_hijack", "sd_models",
    "sd_samplers", "scripts", "shared", "textual_inversion", "textual_inversion.textual_inversion",
)  # fmt: skip


@dataclass(frozen=True)
class AModel:
    """As much of a DiffusionModel as the host touches."""

    crop: tuple[int, int] = (0, 0)
    alphas_cumprod: Any = None
    device: str = "cpu"


class State:
    """As much of the WebUI's progress state as the host touches."""

    def __init__(self) -> None:
        self.job, self.job_no, self.job_count, self.job_timestamp = "", 0, 0, "0"
        self.processing_has_refined_job_count = False
        self.sampling_step = self.sampling_steps = self.current_image_sampling_step = 0
        self.current_latent = self.current_image = self.textinfo = self.time_start = None
        self.interrupted = self.skipped = self.stopping_generation = False

    def begin(self, job: str) -> None:
        self.__init__()
        self.job, self.job_count, self.time_start = job, -1, 1.0

    def end(self) -> None:
        self.job, self.job_count = "", 0

    def assign_current_image(self, image: Any) -> None:
        self.current_image = image


class Database:
    """The WebUI's embedding database, with one embedding "old" of the token 7."""

    def __init__(self) -> None:
        self.word_embeddings = {"old": SimpleNamespace(name="old")}
        self.skipped_embeddings = {"wide": SimpleNamespace(name="wide", shape=1024)}
        self.loads: list[bool] = []

    def load_textual_inversion_embeddings(self, force_reload: bool = False) -> None:
        self.loads.append(force_reload)

    def find_embedding_at_position(self, tokens: list[int], offset: int) -> tuple[Any, int | None]:
        return (self.word_embeddings["old"], 1) if tokens[offset] == 7 else (None, None)


class TextEncoder:
    """A CLIP whose tokens are its words' lengths."""

    def __init__(self, width: int = 4) -> None:
        self.weight = torch.arange(10.0 * width, dtype=torch.float16).reshape(10, width)
        layer = SimpleNamespace(wrapped=SimpleNamespace(weight=self.weight))
        text_model = SimpleNamespace(embeddings=SimpleNamespace(token_embedding=layer))
        self.wrapped = SimpleNamespace(transformer=SimpleNamespace(text_model=text_model))

    def tokenize(self, texts: list[str]) -> list[list[int]]:
        return [[len(word) for word in text.split()] for text in texts]


class Job:
    """`StableDiffusionProcessingTxt2Img`."""

    cached_c = cached_uc = cached_hr_c = cached_hr_uc = ("old", "conditioning")

    def __init__(self, **fields: Any) -> None:
        self.fields = fields
        self.closed = False

    def close(self) -> None:
        self.closed = True


class WebUI:
    """The stand-in modules, and what happened to them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pictures: list[Any] = ["a picture"]
        self.during: list[dict[str, Any]] = []
        self.database = Database()
        self.sd_model = SimpleNamespace(
            cond_stage_model=TextEncoder(), is_sd1=True, image_size=8, model=SimpleNamespace(conditioning_key="crossattn"),
            sd_checkpoint_info=SimpleNamespace(model_name="tiny", shorthash="0123456789", title="tiny.safetensors [0123456789]"),
        )  # fmt: skip
        self.modules = {name: types.ModuleType(f"modules.{name}") for name in NAMES}
        for name, content in self._contents().items():
            vars(self.modules[name]).update(content)
        package = types.ModuleType("modules")
        package.__path__ = []
        self.modules["textual_inversion"].__path__ = []
        vars(package).update({name: module for name, module in self.modules.items() if "." not in name})
        vars(self.modules["textual_inversion"])["textual_inversion"] = self.modules["textual_inversion.textual_inversion"]
        self.all = {"modules": package, **{f"modules.{name}": module for name, module in self.modules.items()}}

    def __getattr__(self, name: str) -> Any:
        return self.__dict__["modules"][name]

    def _contents(self) -> dict[str, dict[str, Any]]:
        options = SimpleNamespace(
            embeddings_dir=str(self.folder / "embeddings"), textual_inversion_templates_dir=str(self.folder / "templates"),
            webui_is_non_local=False, hide_ui_dir_config=False, train_embedding_allow=[],
            no_prompt_history=False, disable_safe_unpickle=False,
        )  # fmt: skip
        sampler = SimpleNamespace(name="Euler")
        self.finished: list[str] = []
        return {
            "call_queue": {"queue_lock": threading.Lock()},
            "devices": {"device": torch.device("cpu"), "dtype_unet": torch.float16, "fp8": False},
            "launch_utils": {"git_tag": lambda: "v1.10.1"},
            "lowvram": {"is_enabled": lambda _model: False},
            "paths_internal": {"data_path": str(self.folder), "models_path": str(self.folder / "models")},
            "processing": {
                "StableDiffusionProcessing": Job, "StableDiffusionProcessingTxt2Img": Job, "process_images": self._process_images,
            },
            "progress": {
                "create_task_id": lambda kind: f"task({kind}-1)", "add_task_to_queue": lambda _task: None,
                "start_task": lambda _task: None, "finish_task": self.finished.append, "pending_tasks": {},
            },
            "sd_hijack": {"model_hijack": SimpleNamespace(embedding_db=self.database)},
            "sd_models": {"model_data": SimpleNamespace(sd_model=self.sd_model)},
            "sd_samplers": {"all_samplers": [sampler], "all_samplers_map": {"Euler": sampler}},
            "scripts": {"ScriptRunner": object},
            "shared": {
                "state": State(), "cmd_opts": options, "sd_model": self.sd_model,
                "opts": SimpleNamespace(fp8_storage="Disable", sd_model_checkpoint="tiny.safetensors [0123456789]"),
                "total_tqdm": SimpleNamespace(clear=lambda: None),
            },
            "textual_inversion.textual_inversion": {
                "Embedding": lambda vec, name, step: SimpleNamespace(vec=vec, name=name, step=step),
            },
        }  # fmt: skip

    def _process_images(self, job: Job) -> Any:
        """Leaves the traces that the WebUI's own leaves."""
        state = self.shared.state
        found = self.sd_hijack.model_hijack.embedding_db.find_embedding_at_position
        self.during.append(
            {
                "fields": job.fields, "caches": (job.cached_c, job.cached_uc),
                "history": not self.shared.cmd_opts.no_prompt_history,
                "found": {length: found([length], 0)[0] for length in (3, 7)}, "long": found([3, 5], 0)[1],
            }
        )  # fmt: skip
        state.job_no, state.job_count, state.sampling_step, state.sampling_steps = 5, 1, 3, 20
        state.current_latent, state.skipped = "a latent", True
        torch.manual_seed(99)
        return SimpleNamespace(images=self.pictures)
