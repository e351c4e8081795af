"""The tab over a host without a model, and a way to call its handlers as gradio does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from tests.event_loops import inside_a_loop
from train_embedding.services import Services
from train_embedding.testing import FakeHost

gr = pytest.importorskip("gradio")


class WordModel:
    """Token embeddings with one token per word, all zeros."""

    def token_embeddings(self, text: str, count: int | None = None) -> dict[str, torch.Tensor]:
        return {"clip_l": torch.zeros(len(text.split()[:count]), 768)}


@pytest.fixture
def services(tmp_path: Path) -> Services:
    return Services(FakeHost(tmp_path, model=cast(Any, WordModel())))


@pytest.fixture
def blocks(services: Services) -> Any:
    from train_embedding.ui.tab import build

    return inside_a_loop(lambda: build(services))


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
