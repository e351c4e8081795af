"""The cards of the Library panel and the bar above them; searching, filtering and sorting happen in the script."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from train_embedding.ui import html
from train_embedding.ui.library import thumbnails

if TYPE_CHECKING:
    from train_embedding.services import Services
    from train_embedding.services.library import Entry

BATCH = 60
"Pictures sent at once, at most."
TOOLBAR = Markup(
    "<div class='te-toolbar'>"
    "<input type='search' id='te_library_search' placeholder='Search' aria-label='Search' autocomplete='off'>"
    "<select id='te_library_sort' aria-label='Sort by'><option value='name'>Name</option>"
    "<option value='date'>Newest first</option><option value='steps'>Most steps first</option>"
    "<option value='vectors'>Most vectors first</option><option value='size'>Largest first</option></select>"
    "<select id='te_library_family' aria-label='Model family'><option value=''>All families</option></select>"
    "<select id='te_library_state' aria-label='State'><option value=''>All states</option>"
    "<option value='loaded'>Loaded</option><option value='left-out'>Not loaded</option>"
    "<option value='remarks'>With remarks</option><option value='unsafe'>Unsafe</option></select>"
    "<select id='te_library_folder' aria-label='Folder'><option value=''>All folders</option></select>"
    "<label title='Files of the same name go to the trash.'><input type='checkbox' id='te_library_overwrite'>"
    "<span>Overwrite on import</span></label><span id='te_library_count' aria-live='polite'></span></div>"
)
EMPTY = "No embedding yet. Create one at the left, or drop files here."
NOTHING_FITS = "No embedding fits the search."
_LIST = Markup(
    "<div class='te-cards' role='listbox' aria-label='Library' data-version='{}'>{}</div>"
    "<p class='te-nothing' hidden>" + NOTHING_FITS + "</p><datalist id='te_library_names'></datalist>"
)
_CARD = Markup(
    "<div class='te-card{}' role='option' tabindex='-1' data-name='{}' data-key='{}' data-family='{}' data-vectors='{}'"
    " data-steps='{}' data-date='{}' data-size='{}' data-folder='{}' data-picture='{}' title='{}'>"
    "<span class='te-blank'>{}</span><div><b dir='auto'>{}</b><small>{}{}</small></div></div>"
)
_BADGE = Markup("<span class='te-badge'>{}</span>")


class Deck:
    """The library as the pages show it: listed and drawn once for each version, whichever page asks."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lock = threading.Lock()
        self._version = ""
        self._entries: Sequence[Entry] = ()
        self._html = Markup("")
        self._by_key: Mapping[str, Entry] = {}

    def at(self, version: str) -> tuple[Sequence[Entry], Markup]:
        """The entries and their cards at a version; what is listed then stands for all later calls with this one."""
        with self._lock:
            if version != self._version:
                self._entries = self._services.library.list()
                self._html, self._version = cards(self._entries, version), version
                self._by_key = {key_of(entry): entry for entry in self._entries}
            return self._entries, self._html

    def pictures(self, request: str) -> Markup:
        """The answer to the script, which asks for the pictures of cards that came into view."""
        serial, keys = _asked(request)
        with self._lock:
            entries = [(key, self._by_key.get(key)) for key in keys[:BATCH]]
        found = {key: thumbnails.address(entry.preview) if entry and entry.preview else "" for key, entry in entries}
        return Markup("<div data-serial='{}' data-pictures='{}'></div>").format(serial, json.dumps(found))


def key_of(entry: Entry) -> str:
    """What tells an entry from others of its name: its path below the embeddings folder."""
    return printable(entry.path)


def printable(text: str) -> str:
    """Without the bytes of a file name that are no UTF-8, which no page could hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def cards(entries: Iterable[Entry], version: str = "") -> Markup:
    """The list of cards. version: tells the script one state of it from another, since gradio 6 patches what is there."""
    drawn = Markup("").join(_card(entry) for entry in entries)
    return _LIST.format(version, drawn or html.message("quiet", EMPTY))


def _card(entry: Entry) -> Markup:
    name = printable(entry.name)
    marks = (("te-left-out", not entry.loaded), ("te-remarks", entry.remarks), ("te-unsafe", entry.unsafe_reason))
    line = f"{_count(entry.vectors)} · {html.steps(entry.step)}" if entry.loaded else entry.reason
    badge = _BADGE.format(entry.family) if entry.family else ""
    title = "\n".join(printable(text) for text in (entry.name, entry.unsafe_reason or entry.reason, *entry.remarks) if text)
    return _CARD.format(
        "".join(f" {mark}" for mark, on in marks if on), name, key_of(entry), entry.family, entry.vectors, entry.step or 0,
        int(entry.modified), entry.size, printable(entry.folder), thumbnails.stamp(entry.preview) or "", title,
        name[:1], name, badge, printable(line),
    )  # fmt: skip


def _count(vectors: int) -> str:
    return "1 vector" if vectors == 1 else f"{vectors} vectors"


def _asked(request: str) -> tuple[int, list[str]]:
    """What the script wrote: a number of its own, and keys. Anything else asks for nothing."""
    try:
        values: Any = json.loads(request)
        return int(values["serial"]), [key for key in values["keys"] if isinstance(key, str)]
    except (ValueError, TypeError, KeyError):
        return 0, []
