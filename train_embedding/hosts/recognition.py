"""Recognize the programs of the WebUI's family by their modules, in a process or on the disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from train_embedding.messages import Message, msg, verbatim

SUPPORTED = msg(
    "It works in AUTOMATIC1111 WebUI 1.10, SD.Next, Forge, reForge, Forge Neo and Forge Classic, and without a WebUI."
)
OWN_FOLDER = ".train-embedding"
"Folder for runs and the trash in the WebUI's data folder. The WebUI serves names without a leading dot to browsers."

_SDNEXT = ("modules.modeldata", "modules.sd_offload")
"Modules that only SD.Next has. Its module `installer` is also the name of a package on PyPI."


@dataclass(frozen=True)
class Program:
    """A program of the WebUI's family."""

    name: Message
    "Its name as an object in a sentence, such as 'does not support Forge Neo'."
    kind: Literal["a1111", "forge", "neo", "reforge", "classic", "sdnext", "unsupported"]


def recognize(has_module: Callable[[str], bool], reserves_memory: Callable[[], bool]) -> Program:
    """Recognize a program by its modules.

    Args:
        has_module: Returns whether the program has a module, such as "modules.sd_hijack".
        reserves_memory: Returns whether `load_models_gpu` of `ldm_patched.modules.model_management` takes
            `minimum_memory_required`, as in reForge but not in Forge Classic. Called only if the program has that module.
    """
    if all(has_module(module) for module in _SDNEXT):
        return Program(verbatim("SD.Next"), "sdnext")
    is_forge, has_backend = has_module("modules_forge"), has_module("backend.memory_management")
    if not has_module("modules.textual_inversion.textual_inversion"):
        return Program(msg("this WebUI"), "unsupported")
    if not has_module("modules.sd_hijack"):
        return Program(verbatim("Forge Neo"), "neo") if is_forge and has_backend else Program(msg("this WebUI"), "unsupported")
    if not is_forge:
        return Program(verbatim("AUTOMATIC1111 WebUI"), "a1111")
    if has_backend:
        return Program(verbatim("Stable Diffusion WebUI Forge"), "forge")
    if not has_module("ldm_patched.modules.model_management"):
        return Program(msg("this version of Forge"), "unsupported")
    if not reserves_memory():
        return Program(verbatim("Forge Classic"), "classic")
    return Program(verbatim("Stable Diffusion WebUI reForge"), "reforge")
