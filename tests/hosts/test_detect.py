"""Which program this process is, by the modules that each of them has, and the tab where it is not supported."""

from __future__ import annotations

import importlib.machinery
import sys
import types
from collections.abc import Iterator
from typing import Any

import gradio as gr
import pytest

from tests.event_loops import inside_a_loop
from train_embedding import webui
from train_embedding.errors import HostFailed
from train_embedding.hosts import detect as detection
from train_embedding.services import Services

A1111 = {"modules.shared", "modules.sd_hijack", "modules.textual_inversion.textual_inversion"}
FORGE = {*A1111, "modules_forge", "backend.memory_management"}
FORGE_NEO = FORGE - {"modules.sd_hijack"}
REFORGE = {*A1111, "modules_forge", "ldm_patched.modules.model_management"}
SDNEXT = {*A1111, "installer", "modules.modeldata", "modules.sd_offload"}
"Of what the programs have, the modules that they are told apart by; read in their sources."


class Program:
    """The modules that can be imported in a program, and nothing else of their top packages."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def becomes(self, modules: set[str], *, reserves: bool = True) -> None:
        for name in modules:
            self._monkeypatch.setitem(sys.modules, name, _module(name))
        patched = sys.modules.get("ldm_patched.modules.model_management")
        if patched is not None:
            load = _load_as_reforge if reserves else _load_as_forge_classic
            vars(patched)["load_models_gpu"] = load
            inner = _module("ldm_patched.modules")
            vars(inner)["model_management"] = patched
            self._monkeypatch.setitem(sys.modules, "ldm_patched", _module("ldm_patched"))
            self._monkeypatch.setitem(sys.modules, "ldm_patched.modules", inner)


def _module(name: str) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    return module


def _load_as_reforge(models: Any, memory_required: int = 0, minimum_memory_required: int | None = None) -> None: ...


def _load_as_forge_classic(models: Any, memory_required: int = 0) -> None: ...


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Iterator[Program]:
    monkeypatch.setattr(detection, "_has_module", lambda name: name in sys.modules)
    for name in {*FORGE, *REFORGE, *SDNEXT}:
        monkeypatch.delitem(sys.modules, name, raising=False)
    for hosts in ("a1111.host", "forge.host", "forge.reforge", "sdnext.host"):  # which only import inside their programs
        stand_in = _module(f"train_embedding.hosts.{hosts}")
        for host in ("A1111Host", "ForgeHost", "ForgeNeoHost", "ReForgeHost", "ForgeClassicHost", "SDNextHost"):
            vars(stand_in)[host] = type(host, (), {})
        monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)
    detection.detect.cache_clear()
    webui.services.cache_clear()
    yield Program(monkeypatch)
    detection.detect.cache_clear()
    webui.services.cache_clear()


@pytest.mark.parametrize(
    ("modules", "host"),
    [
        (A1111, "A1111Host"),
        ({*A1111, "installer"}, "A1111Host"),  # the package of that name on PyPI
        (FORGE, "ForgeHost"),
        ({*FORGE, "installer"}, "ForgeHost"),
        (REFORGE, "ReForgeHost"),
        (SDNEXT, "SDNextHost"),
    ],
)
def test_supported_programs(program: Program, modules: set[str], host: str) -> None:
    program.becomes(modules)
    assert type(detection.detect()).__name__ == host


def test_forge_neo_and_forge_classic_are_told_from_forge_and_reforge(program: Program) -> None:
    program.becomes(FORGE_NEO)
    assert type(detection.detect()).__name__ == "ForgeNeoHost"
    detection.detect.cache_clear()
    del sys.modules["backend.memory_management"]
    program.becomes(REFORGE, reserves=False)
    assert type(detection.detect()).__name__ == "ForgeClassicHost"


@pytest.mark.parametrize(
    ("modules", "name"),
    [
        ({*A1111, "modules_forge"}, "this version of Forge"),
        ({"modules.shared"}, "this WebUI"),
    ],
)
def test_other_programs_get_a_tab_with_one_sentence(program: Program, modules: set[str], name: str) -> None:
    program.becomes(modules, reserves=False)
    with pytest.raises(HostFailed, match=f"does not support {name} yet"):
        detection.detect()
    assert f"does not support {name} yet" in _text(inside_a_loop(webui.tab))
    assert not webui.mount_api(_AnAPI())


class _AnAPI:
    """A program whose API is on."""

    routes = (types.SimpleNamespace(path="/sdapi/v1/embeddings", dependencies=()),)


class _OtherNames:
    """An adapter that relies on a name which this version of the program does not have."""

    def info(self) -> Any:
        raise AttributeError("'Namespace' object has no attribute 'textual_inversion_templates_dir'")


def test_a_program_whose_settings_cannot_be_read_gets_a_tab_with_one_sentence(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    services = object.__new__(Services)
    setattr(services, "host", _OtherNames())  # noqa: B010
    monkeypatch.setattr(webui, "services", lambda: services)
    shown = _text(inside_a_loop(webui.tab))
    assert "This version of the WebUI is not supported" in shown
    assert "textual_inversion_templates_dir" in shown
    assert not webui.mount_api(_AnAPI())
    assert "Traceback" not in caplog.text


def _text(tab: gr.Blocks) -> str:
    (only,) = [block.value for block in tab.blocks.values() if isinstance(block, gr.HTML)]
    return str(only)


def test_outside_a_webui_there_is_no_host(program: Program) -> None:
    with pytest.raises(HostFailed, match="no WebUI"):
        detection.detect()
