"""Finds out which program this process is, and returns the host for it."""

from __future__ import annotations

import functools
import importlib.util
import sys

from train_embedding.errors import HostFailed
from train_embedding.hosts.base import Host

_SDNEXT = ("modules.sdnext", "installer")
_WHERE = "It runs in AUTOMATIC1111 WebUI 1.10, in Forge, in reForge, and without a WebUI."


@functools.cache
def detect() -> Host:
    """The host around this process, the same object at every call.

    Raises HostFailed outside a WebUI, and in a WebUI that is not supported, naming it.
    """
    if "modules.shared" not in sys.modules:
        raise HostFailed("There is no WebUI in this process.", 'Without one, "train-embedding app" opens the same tab.')
    if any(_there_is(module) for module in _SDNEXT):
        raise HostFailed("Train Embedding does not support SD.Next yet.", _WHERE)
    if not _there_is("modules.sd_hijack") or not _there_is("modules.textual_inversion.textual_inversion"):
        raise HostFailed("Train Embedding does not know this WebUI.", _WHERE)
    if _there_is("modules_forge") and _there_is("backend.memory_management"):
        from train_embedding.hosts.forge import ForgeHost

        return ForgeHost()
    if _there_is("modules_forge") and _there_is("ldm_patched.modules.model_management"):
        from train_embedding.hosts.reforge import ReForgeHost

        return ReForgeHost()
    if _there_is("modules_forge"):
        raise HostFailed("Train Embedding does not know this version of Forge.", _WHERE)
    from train_embedding.hosts.a1111 import A1111Host

    return A1111Host()


def _there_is(module: str) -> bool:
    if module in sys.modules:
        return True
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
