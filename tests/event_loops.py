"""gradio's Blocks made as a server makes them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def inside_a_loop(make: Callable[[], Any]) -> Any:
    """Return what `make` returns, called inside an event loop.

    Outside one, gradio 6 makes loops for its Blocks and leaves them open. In a thread of its own, since this one
    has a loop already where Playwright's browser is still open.
    """

    async def made() -> Any:
        return make()

    with ThreadPoolExecutor(1) as threads:
        return threads.submit(lambda: asyncio.run(made())).result()
