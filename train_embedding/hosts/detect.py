"""Finds out which program this process is, and returns the host for it."""

from __future__ import annotations

import functools
import importlib.util
import inspect
import sys

from train_embedding.errors import HostFailed
from train_embedding.hosts.base import Host

_SDNEXT = ("modules.modeldata", "modules.sd_offload")
"Modules that SD.Next has and no other program of the family; its `installer` is also the name of a package on PyPI."
_WHERE = "It runs in AUTOMATIC1111 WebUI 1.10, in Forge, in reForge, and without a WebUI."


@functools.cache
def detect() -> Host:
    """Return the host around this process, the same object at every call.

    Raises:
        HostFailed: There is no WebUI in this process, or one that is not supported, which the message names.
    """
    if "modules.shared" not in sys.modules:
        raise HostFailed("There is no WebUI in this process.", 'Without one, "train-embedding app" opens the same tab.')
    if unsupported := _unsupported():
        raise HostFailed(f"Train Embedding does not support {unsupported} yet.", _WHERE)
    if not _there_is("modules_forge"):
        from train_embedding.hosts.a1111.host import A1111Host

        return A1111Host()
    if _there_is("backend.memory_management"):
        from train_embedding.hosts.forge.host import ForgeHost

        return ForgeHost()
    from train_embedding.hosts.forge.reforge import ReForgeHost

    return ReForgeHost()


def _unsupported() -> str:
    """The name of this program where it is not supported, else an empty string."""
    if all(_there_is(module) for module in _SDNEXT):
        return "SD.Next"
    is_forge, has_backend = _there_is("modules_forge"), _there_is("backend.memory_management")
    if not _there_is("modules.sd_hijack") or not _there_is("modules.textual_inversion.textual_inversion"):
        return "Forge Neo" if is_forge and has_backend else "this WebUI"
    if is_forge and not has_backend:
        if not _there_is("ldm_patched.modules.model_management"):
            return "this version of Forge"
        if not _reserves_memory():
            return "Forge Classic"
    return ""


def _reserves_memory() -> bool:
    """Whether models are loaded as in reForge, from which Forge Classic can be told apart by that."""
    from ldm_patched.modules import model_management

    return "minimum_memory_required" in inspect.signature(model_management.load_models_gpu).parameters


def _there_is(module: str) -> bool:
    if module in sys.modules:
        return True
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
