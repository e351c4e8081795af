"""Finds out which program this process is, and returns the host for it."""

from __future__ import annotations

import functools
import importlib.util
import inspect
import sys

from train_embedding.errors import HostFailed
from train_embedding.hosts.base import Host
from train_embedding.hosts.recognition import SUPPORTED, recognize
from train_embedding.messages import msg


@functools.cache
def detect() -> Host:
    """Return the host around this process, the same object at every call.

    Raises:
        HostFailed: There is no WebUI in this process, or one that is not supported, which the message names.
    """
    if "modules.shared" not in sys.modules:
        raise HostFailed(msg("There is no WebUI in this process."), msg('Without one, "train-embedding app" opens the same tab.'))
    program = recognize(_there_is, _reserves_memory)
    if program.kind == "unsupported":
        raise HostFailed(msg("Train Embedding does not support {name} yet.", name=program.name), SUPPORTED)
    if program.kind == "a1111":
        from train_embedding.hosts.a1111.host import A1111Host

        return A1111Host()
    if program.kind == "forge":
        from train_embedding.hosts.forge.host import ForgeHost

        return ForgeHost()
    from train_embedding.hosts.forge.reforge import ReForgeHost

    return ReForgeHost()


def _reserves_memory() -> bool:
    """Whether models are loaded as in reForge; see `recognize`."""
    from ldm_patched.modules import model_management

    return "minimum_memory_required" in inspect.signature(model_management.load_models_gpu).parameters


def _there_is(module: str) -> bool:
    if module in sys.modules:
        return True
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
