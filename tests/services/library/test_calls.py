"""How far a change goes through the code, and how often it lists the folder: upper bounds on counts, which need no clock."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.formats import encode, write_embedding
from train_embedding.services import Services
from train_embedding.services.library.library import Library
from train_embedding.services.library.listing import SETTLED_SECONDS
from train_embedding.testing import FakeHost
from train_embedding.ui.library.cards import CardList, key_of
from train_embedding.ui.library.chosen import entry_of

FILES = 100
SERVICES = "train_embedding.services"


class QuietHost(FakeHost):
    """A host that does not list the folder by itself."""

    def reload_embeddings(self) -> None:
        self.reloads += 1


def folder_of(tmp_path: Path, count: int) -> QuietHost:
    host = QuietHost(tmp_path)
    for number in range(count):
        file = host.info().embeddings_folder / f"style {number % 7}" / f"qz-{number}x.pt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encode(Embedding(file.stem, {"clip_l": torch.full((1, 8), float(number))}), "webui", ".pt"))
    return host


def library_of(host: QuietHost) -> Library:
    """A library that has swept the folder, which happens once per process, and has listed it."""
    library = Library(host)
    library.save(Embedding("first", {"clip_l": torch.ones(1, 768)}))
    settled(library)
    return library


def settled(library: Library) -> None:
    """List the folder once its time stamps can be trusted, as a page does after every change."""
    time.sleep(2 * SETTLED_SECONDS)
    library.list()


def calls_of(action: Callable[[], object]) -> tuple[set[str], int]:
    """The functions of the services that are called from another module of theirs, and the calls of any function of theirs."""
    across, calls = set[str](), 0

    def profile(frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal calls
        module, code = frame.f_globals.get("__name__", ""), frame.f_code
        if event != "call" or not module.startswith(SERVICES) or code.co_name.startswith("<"):
            return
        calls += 1
        caller = frame.f_back
        while caller is not None and not caller.f_globals.get("__name__", "").startswith(SERVICES):
            caller = caller.f_back
        if caller is not None and caller.f_globals["__name__"] != module and not _is_access(code.co_name, module):
            across.add(f"{module.removeprefix(SERVICES)}.{code.co_name}")

    sys.setprofile(profile)
    try:
        action()
    finally:
        sys.setprofile(None)
    return across, calls


def _is_access(name: str, module: str) -> bool:
    """Whether a function only constructs a value, or is a property: `name` is then an attribute of a class of the module."""
    if name.startswith("__"):
        return True
    found = (vars(value).get(name) for value in vars(sys.modules[module]).values() if isinstance(value, type))
    return any(value is not None and not callable(value) and not isinstance(value, staticmethod) for value in found)


def listings_of(action: Callable[[], object], folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """How often the whole folder was listed: the largest number of times that any folder in it was read."""
    read: dict[str, int] = {}

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def stand_in(path: Any = ".", *more: Any) -> Any:
            name = os.fsdecode(path) if not isinstance(path, int) else ""
            if Path(name).is_relative_to(folder):
                read[name] = read.get(name, 0) + 1
            return real(path, *more)

        return stand_in

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", counted(os.scandir))
        patch.setattr(os, "listdir", counted(os.listdir))
        action()
    return max(read.values(), default=0)


@pytest.mark.parametrize("number", [3, FILES], ids=["replaced", "new"])
def test_the_way_of_a_save_is_short(tmp_path: Path, number: int) -> None:
    library = library_of(folder_of(tmp_path, FILES))
    across, calls = calls_of(lambda: library.save(Embedding(f"qz-{number}x", {"clip_l": torch.zeros(1, 768)})))
    assert len(across) <= 15, sorted(across)
    assert calls <= 250


def test_a_save_costs_no_more_calls_in_a_large_folder(tmp_path: Path) -> None:
    counts: list[int] = []
    for size in (14, FILES):
        library = library_of(folder_of(tmp_path / str(size), size))
        counts.append(calls_of(lambda library=library: library.save(Embedding("qz-3x", {"clip_l": torch.zeros(1, 768)})))[1])
    assert counts[1] <= counts[0]


CLICKS: dict[str, Callable[[Library, str], object]] = {
    "a card": lambda library, name: library.get(name),
    "look inside": lambda library, name: library.read(name),
    "save notes": lambda library, name: library.set_notes(name, {"notes": "mine"}),
    "rename": lambda library, name: library.rename(name, f"{name}y"),
    "copy": lambda library, name: library.copy(name, f"{name}y"),
    "delete": lambda library, name: library.delete(name),
}


@pytest.mark.parametrize("click", CLICKS)
def test_a_click_lists_the_folder_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, click: str) -> None:
    """With what the page does before and after: it finds the embedding of the card, and then draws all cards again."""
    host = folder_of(tmp_path, FILES)
    services = Services(host)
    services.library.save(Embedding("first", {"clip_l": torch.ones(1, 768)}))  # sweeps the folder, once per process
    card_list = CardList(services)
    for number, version in ((5, "1"), (6, "2")):
        time.sleep(2 * SETTLED_SECONDS)
        (entry,) = (entry for entry in card_list.at_version(version)[0] if entry.name == f"qz-{number}x")

        def act(key: str = key_of(entry), version: str = f"{version} drawn") -> None:
            CLICKS[click](services.library, entry_of(services, key).name)
            card_list.at_version(version)

        assert listings_of(act, host.info().embeddings_folder, monkeypatch) <= 1


def test_what_changes_between_two_clicks_is_seen(tmp_path: Path) -> None:
    """Without a listing in between, whoever changed the folder and however."""
    host = folder_of(tmp_path, 7)
    library, folder = Library(host), host.info().embeddings_folder
    settled(library)
    file = library.get("qz-3x").file
    assert library.get("qz-3x").step is None
    write_embedding(Embedding("qz-3x", {"clip_l": torch.ones(1, 768)}, step=7), file)
    assert library.get("qz-3x").step == 7
    settled(library)
    file.with_name("qz-3x.json").write_text('{"notes": "new"}')
    assert library.get("qz-3x").notes.notes == "new"
    settled(library)
    file.with_name("qz-3x.json").write_text('{"notes": "changed in place"}')
    assert library.get("qz-3x").notes.notes == "changed in place"
    settled(library)
    write_embedding(Embedding("new", {"clip_l": torch.ones(1, 768)}), folder / "new folder" / "new.pt")
    assert library.get("new").path == "new folder/new.pt"
    settled(library)
    write_embedding(Embedding("qz-3x", {"clip_l": torch.zeros(1, 768)}), folder / "new folder" / "qz-3x.pt")
    assert any("same name" in warning for warning in library.get("qz-3x").warnings)
    settled(library)
    (folder / "style 4" / "qz-4x.pt").rename(folder / "qz-4z.pt")
    assert library.get("qz-4z").folder == ""
