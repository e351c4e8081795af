"""The cards of the Library panel and the toolbar above them. The script searches, filters and sorts them in the page."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from train_embedding.ui import html
from train_embedding.ui.library import thumbnails
from train_embedding.ui.templates import render

if TYPE_CHECKING:
    from train_embedding.services import Services
    from train_embedding.services.library import Entry

BATCH = 60
"Previews sent at once, at most."


@dataclass(frozen=True)
class Card:
    """What the template shows of an embedding, and what the script sorts and filters by."""

    classes: str
    name: str
    key: str
    family: str
    vectors: int
    steps: int
    modified: int
    "Seconds since the epoch."
    size: int
    folder: str
    preview_stamp: str
    "Differs when the preview image changes; empty without one."
    title: str
    line: str
    "Vectors and steps, or why the embedding is not loaded."


class CardList:
    """The library as the pages show it: listed and drawn once for each version, whichever page asks."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lock = threading.Lock()
        self._version = ""
        self._entries: Sequence[Entry] = ()
        self._html = Markup("")
        self._by_key: Mapping[str, Entry] = {}

    def at_version(self, version: str) -> tuple[Sequence[Entry], Markup]:
        """The entries and their cards at a version; what is listed then stands for all later calls with this one."""
        with self._lock:
            if version != self._version:
                self._entries = self._services.library.list()
                self._html, self._version = cards(self._entries, version), version
                self._by_key = {key_of(entry): entry for entry in self._entries}
            return self._entries, self._html

    def draw_previews(self, request: str) -> Markup:
        """The answer to the script, which asks for the pictures of cards that came into view."""
        serial, keys = _read_request(request)
        with self._lock:
            entries = [(key, self._by_key.get(key)) for key in keys[:BATCH]]
        found = {key: thumbnails.address(entry.preview) if entry and entry.preview else "" for key, entry in entries}
        return render("card_images", serial=serial, images=json.dumps(found))


def key_of(entry: Entry) -> str:
    """What tells an entry from others of its name: its path below the embeddings folder."""
    return printable(entry.path)


def printable(text: str) -> str:
    """Without the bytes of a file name that are no UTF-8, which no page could hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def toolbar() -> Markup:
    """Return the controls that search, sort and filter the cards."""
    return render("toolbar")


def cards(entries: Iterable[Entry], version: str = "") -> Markup:
    """Return the list of cards.

    Args:
        version: Tells the script one state of the list from another, because gradio 6 patches what is in the page.
    """
    return render("cards", cards=[_card(entry) for entry in entries], version=version)


def _card(entry: Entry) -> Card:
    marks = (("te-left-out", not entry.loaded), ("te-warnings", entry.warnings), ("te-unsafe", entry.unsafe_reason))
    line = f"{html.count(entry.vectors, 'vector')} · {html.steps(entry.step)}" if entry.loaded else entry.reason
    title = "\n".join(text for text in (entry.name, entry.unsafe_reason or entry.reason, *entry.warnings) if text)
    return Card(
        classes=" ".join(["te-card", *(mark for mark, on in marks if on)]),
        name=printable(entry.name),
        key=key_of(entry),
        family=entry.family,
        vectors=entry.vectors,
        steps=entry.step or 0,
        modified=int(entry.modified),
        size=entry.size,
        folder=printable(entry.folder),
        preview_stamp=str(thumbnails.stamp(entry.preview) or ""),
        title=printable(title),
        line=printable(line),
    )


def _read_request(request: str) -> tuple[int, list[str]]:
    """What the script wrote: a number of its own, and keys. Anything else asks for nothing."""
    try:
        values: Any = json.loads(request)
        return int(values["serial"]), [key for key in values["keys"] if isinstance(key, str)]
    except (ValueError, TypeError, KeyError):
        return 0, []
