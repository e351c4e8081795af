"""The cards of the Library panel and the toolbar above them; the script searches, filters and sorts them in the page."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from train_embedding.messages import DOT, joined, verbatim
from train_embedding.translations import translate
from train_embedding.ui import html
from train_embedding.ui.library import thumbnails
from train_embedding.ui.templates import render

if TYPE_CHECKING:
    from train_embedding.services import Services
    from train_embedding.services.library import Entry

BATCH = 60
"Largest number of previews in one answer."


@dataclass(frozen=True)
class Card:
    """What the template shows of an embedding, and what the script sorts and filters by; all texts in the current language."""

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
    "Changes with the preview image; empty without one."
    title: str
    line: str
    "Vectors and steps, or why the embedding is not loaded."


class CardList:
    """The library as pages show it, listed and rendered once per version for all pages."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lock = threading.Lock()
        self._version = ""
        self._entries: Sequence[Entry] = ()
        self._html = Markup("")
        self._by_key: Mapping[str, Entry] = {}

    def at_version(self, version: str) -> tuple[Sequence[Entry], Markup]:
        """Return the entries and their cards at a version; later calls with the same version return the same."""
        with self._lock:
            if version != self._version:
                self._entries = self._services.library.list()
                self._html, self._version = cards(self._entries, version), version
                self._by_key = {key_of(entry): entry for entry in self._entries}
            return self._entries, self._html

    def draw_previews(self, request: str) -> Markup:
        """Return the previews that the script requests for the cards in view."""
        serial, keys = _read_request(request)
        with self._lock:
            entries = [(key, self._by_key.get(key)) for key in keys[:BATCH]]
        found = {key: thumbnails.address(entry.preview) if entry and entry.preview else "" for key, entry in entries}
        return render("card_images", serial=serial, images=json.dumps(found))


def key_of(entry: Entry) -> str:
    """Return what identifies an entry, also among others of its name: its path below the embeddings folder."""
    return printable(entry.path)


def printable(text: str) -> str:
    """Return a text in the current language, without bytes of file names that are not UTF-8 and that no page can contain."""
    return translate(text).encode("utf-8", "replace").decode("utf-8")


def toolbar() -> Markup:
    """Return the controls that search, sort and filter the cards."""
    return render("toolbar")


def cards(entries: Iterable[Entry], version: str = "") -> Markup:
    """Return the list of cards.

    Args:
        entries: The embeddings.
        version: Of the list, for the script, because gradio 6 patches the HTML in the page.
    """
    return render("cards", cards=[_card(entry) for entry in entries], version=version)


def _card(entry: Entry) -> Card:
    marks = (("te-left-out", not entry.loaded), ("te-warnings", entry.warnings), ("te-unsafe", entry.unsafe_reason))
    facts = joined([html.vector_count(entry.vectors), html.trained_steps(entry.step)], DOT)
    title = joined([entry.name, entry.unsafe_reason or entry.reason, *entry.warnings], verbatim("\n"))
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
        line=printable(facts if entry.loaded else entry.reason),
    )


def _read_request(request: str) -> tuple[int, list[str]]:
    """Parse a request of the script: its serial number, and keys. Anything else requests nothing."""
    try:
        values: Any = json.loads(request)
        return int(values["serial"]), [key for key in values["keys"] if isinstance(key, str)]
    except (ValueError, TypeError, KeyError):
        return 0, []
