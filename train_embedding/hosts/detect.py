"""Finds out which program this process is, and returns the host for it."""

from __future__ import annotations

import functools
import importlib.util
import sys

from train_embedding.errors import HostFailed
from train_embedding.hosts.base import Host

_RELATIVES = {
    "modules_forge": "Stable Diffusion WebUI Forge",
    "modules.sdnext": "SD.Next",
    "installer": "SD.Next",
}
_WHERE = "It runs in AUTOMATIC1111 WebUI 1.10 and without a WebUI."


@functools.cache
def detect() -> Host:
    """The host around this process, the same object at every call.

    Raises HostFailed outside a WebUI, and in a WebUI that is not supported, naming it.
    """
    if "modules.shared" not in sys.modules:
        raise HostFailed("There is no WebUI in this process.", 'Without one, "train-embedding app" opens the same tab.')
    relative = next((title for module, title in _RELATIVES.items() if _there_is(module)), None)
    if relative is not None:
        raise HostFailed(f"Train Embedding does not support {relative} yet.", _WHERE)
    if not _there_is("modules.sd_hijack") or not _there_is("modules.textual_inversion.textual_inversion"):
        raise HostFailed("Train Embedding does not know this WebUI.", _WHERE)
    from train_embedding.hosts.a1111 import A1111Host

    return A1111Host()


def _there_is(module: str) -> bool:
    if module in sys.modules:
        return True
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
