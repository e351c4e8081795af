"""Detect the program that this process belongs to, and return its host."""

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
    """Return the host of this process; every call returns the same object.

    Raises:
        HostFailed: There is no WebUI in this process, or it is not supported.
    """
    if "modules.shared" not in sys.modules:
        raise HostFailed(
            msg("There is no WebUI in this process."), msg('To use Train Embedding without a WebUI, run "train-embedding app".')
        )
    program = recognize(_has_module, _reserves_memory)
    if program.kind == "unsupported":
        raise HostFailed(msg("Train Embedding does not support {name} yet.", name=program.name), SUPPORTED)
    if program.kind == "sdnext":
        from train_embedding.hosts.sdnext.host import SDNextHost

        return SDNextHost()
    if program.kind == "a1111":
        from train_embedding.hosts.a1111.host import A1111Host

        return A1111Host()
    if program.kind in ("forge", "neo"):
        from train_embedding.hosts.forge.host import ForgeHost, ForgeNeoHost

        return ForgeHost() if program.kind == "forge" else ForgeNeoHost()
    from train_embedding.hosts.forge.reforge import ForgeClassicHost, ReForgeHost

    return ReForgeHost() if program.kind == "reforge" else ForgeClassicHost()


def _reserves_memory() -> bool:
    """Return whether models are loaded as in reForge; see `recognize`."""
    from ldm_patched.modules import model_management

    return "minimum_memory_required" in inspect.signature(model_management.load_models_gpu).parameters


def _has_module(module: str) -> bool:
    if module in sys.modules:
        return True
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
