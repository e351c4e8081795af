"""Files dragged into a page as a person drags them: the browser itself makes the events and hands over the files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

COPY = 1
"Of the browser's mask of what may be done with what is dragged."


def drag_in(page: Any, files: Sequence[Path], selector: str) -> None:
    """Drags files from outside to the middle of what is in view of an element; they are not let go of yet."""
    _dispatch(page, "dragEnter", files, selector)
    _dispatch(page, "dragOver", files, selector)


def drop(page: Any, files: Sequence[Path], selector: str) -> None:
    """Drags files to an element and lets go of them there."""
    drag_in(page, files, selector)
    _dispatch(page, "drop", files, selector)


def _dispatch(page: Any, kind: str, files: Sequence[Path], selector: str) -> None:
    x, y = page.locator(selector).first.evaluate(
        "element => { element.scrollIntoView({block: 'nearest'}); const box = element.getBoundingClientRect();"
        " const top = Math.max(0, box.top), bottom = Math.min(innerHeight, box.bottom);"
        " return [box.left + box.width / 2, (top + bottom) / 2]; }"
    )
    session = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(file) for file in files], "dragOperationsMask": COPY}
    session.send("Input.dispatchDragEvent", {"type": kind, "x": x, "y": y, "data": data})
    session.detach()
