"""The tab over the services of each test, and a way to call its handlers as gradio does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.current import CurrentServices
from tests.event_loops import inside_a_loop
from tests.words import word_model
from train_embedding.services import Services
from train_embedding.testing import FakeHost

gr = pytest.importorskip("gradio")


@pytest.fixture
def services(tmp_path: Path) -> Services:
    """What the handlers of the tab work on."""
    return Services(FakeHost(tmp_path, model=word_model()))


@pytest.fixture(scope="module")
def shared_blocks(current_services: CurrentServices, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The tab, built once for all tests of a module, in which no file is yet."""
    from train_embedding.ui.tab import build

    current_services.now = Services(FakeHost(tmp_path_factory.mktemp("empty")))
    return inside_a_loop(lambda: build(current_services))  # pyright: ignore[reportArgumentType]


@pytest.fixture
def blocks(shared_blocks: Any, current_services: CurrentServices, services: Services) -> Any:
    current_services.now = services
    return shared_blocks


@pytest.fixture
def status() -> Any:
    """A place for messages, on a page of its own."""

    def make() -> Any:
        with gr.Blocks(analytics_enabled=False):
            return gr.HTML()

    return inside_a_loop(make)


@pytest.fixture
def components(blocks: Any) -> dict[str, Any]:
    """The tab's components by element id."""
    return {component.elem_id: component for component in blocks.blocks.values() if component.elem_id}


@pytest.fixture
def handler(blocks: Any) -> Callable[[str], Callable[..., Any]]:
    """Handlers by name."""
    functions = blocks.fns.values() if isinstance(blocks.fns, dict) else blocks.fns
    by_name = {function.fn.__name__: function.fn for function in functions if function.fn is not None}
    return by_name.__getitem__
