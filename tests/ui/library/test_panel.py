"""The Library panel's handlers over a host whose checkpoint has a vocabulary: every service they call, and its errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio")

import torch
from PIL import Image

from benchmarks.hostile_cases import vectors_and_call
from tests.ui.reading import Reader
from tests.words import put, vocabulary_host
from train_embedding.embeddings.embedding import Embedding
from train_embedding.hosts.base import HostInfo
from train_embedding.services import Services
from train_embedding.services.combining import SDXL
from train_embedding.services.sidecars import NOTE_FIELDS
from train_embedding.ui.library import files as library_files
from train_embedding.ui.library.details import trash_label

Handler = Callable[[str], Callable[..., Any]]
Components = dict[str, Any]
WIDTHS = {"clip_l": 8}


@pytest.fixture
def services(tmp_path: Path) -> Services:
    host = vocabulary_host(tmp_path, WIDTHS)
    for number, name in enumerate(("my-cat", "my dog")):
        put(host, name, {"clip_l": torch.randn(2, 8, generator=torch.Generator().manual_seed(number))})
    return Services(host)


def names(services: Services) -> list[str]:
    return [entry.name for entry in services.library.list()]


def said(updates: dict[Any, Any], component: Any) -> str:
    return Reader(updates[component]).text


@pytest.fixture
def status_of(components: Components) -> Callable[[dict[Any, Any]], str]:
    return lambda updates: said(updates, components["te_library_status"])


def undoing(updates: dict[Any, Any]) -> Any:
    """What the page keeps for the undo button."""
    [value] = [value for component, value in updates.items() if component.elem_id is None]
    return value


def uploaded(folder: Path, name: str, data: bytes) -> str:
    """A file as gradio leaves it: under a name without the characters that it does not like."""
    file = folder / "".join(character for character in name if character.isalnum() or character in "._-")
    file.write_bytes(data)
    return str(file)


def test_choosing_a_card_shows_everything(handler: Handler, components: Components, services: Services) -> None:
    services.library.set_notes("my-cat", {"description": "A cat.", "preferred_weight": 0.8})
    updates = handler("select")("my-cat.safetensors")
    assert "my-cat.safetensors" in said(updates, components["te_library_details"])
    assert updates[components["te_library_description"]] == "A cat."
    assert updates[components["te_library_preferred_weight"]] == 0.8
    assert updates[components["te_library_new_name"]] == "my-cat"


@pytest.mark.parametrize(("key", "sentence"), [("", "No embedding is selected."), ("gone.pt", '"gone.pt" no longer exists.')])
def test_a_card_that_is_gone(handler: Handler, status_of: Any, key: str, sentence: str) -> None:
    for name, values in (("select", ()), ("rename", ("x",)), ("delete", ()), ("inspect", (False,)), ("export", ("webui .pt",))):
        assert sentence in status_of(handler(name)(key, *values))


def test_notes_are_saved(handler: Handler, status_of: Any, services: Services) -> None:
    values = {"description": "A cat.", "preferred_weight": 1.2}
    updates = handler("save_notes")("my-cat.safetensors", *(values.get(field.name, "") for field in NOTE_FIELDS))
    assert status_of(updates) == "Notes saved."
    assert services.library.get("my-cat").notes.preferred_weight == 1.2


def test_rename_and_copy_show_the_new_one(handler: Handler, components: Components, status_of: Any, services: Services) -> None:
    updates = handler("rename")("my-cat.safetensors", "our-cat")
    assert status_of(updates) == "Renamed my-cat to our-cat."
    assert updates[components["te_library_selected"]] == "our-cat.safetensors"
    updates = handler("copy")("our-cat.safetensors", "twin")
    assert updates[components["te_library_selected"]] == "twin.safetensors"
    assert names(services) == ["my dog", "our-cat", "twin"]
    assert "already" in status_of(handler("copy")("our-cat.safetensors", "twin"))
    assert "contains '/'" in status_of(handler("rename")("our-cat.safetensors", "a/b"))


def test_delete_and_undo(handler: Handler, components: Components, status_of: Any, services: Services) -> None:
    updates = handler("delete")("my-cat.safetensors")
    assert names(services) == ["my dog"]
    assert "te-deleted" in updates[components["te_library_status"]]
    assert updates[components["te_library_details"]] == ""
    assert status_of(handler("undo")(undoing(updates))) == "Restored my-cat."
    assert names(services) == ["my dog", "my-cat"]


def test_an_unsafe_file(handler: Handler, components: Components, status_of: Any, services: Services, tmp_path: Path) -> None:
    file = services.host.info().embeddings_folder / "evil.pt"
    file.write_bytes(vectors_and_call(str(tmp_path / "ran"), zipped=True))
    assert "te-unsafe" in handler("update")(True)[components["te_library_cards"]]
    shown = handler("select")("evil.pt")[components["te_library_details"]]
    assert "te-sanitizable" in shown
    assert "posix.system" in shown
    updates = handler("sanitize")("evil.pt")
    assert status_of(updates) == "Sanitized evil: its file now contains only the vectors. The old file is in the trash."
    assert "te-sanitizable" not in updates[components["te_library_details"]]
    assert not (tmp_path / "ran").exists()


def test_the_trash(handler: Handler, components: Components, status_of: Any, services: Services) -> None:
    handler("delete")("my-cat.safetensors")
    handler("delete")("my dog.safetensors")
    choices = handler("update")(True)[components["te_library_trashed"]]["choices"]
    labels = [choice if isinstance(choice, str) else choice[0] for choice in choices]
    assert labels == [trash_label(one) for one in services.library.trashed()]
    assert "No item is selected." in status_of(handler("restore")(None))
    assert 'no item "x" in the trash' in status_of(handler("restore")("x"))
    assert "Restored" in status_of(handler("restore")(labels[0]))
    assert status_of(handler("empty")()) == "1 item was deleted permanently."
    assert services.library.trashed() == []


def test_pictures_from_a_file_and_drawn(handler: Handler, status_of: Any, services: Services, tmp_path: Path) -> None:
    data = BytesIO()
    Image.new("RGB", (32, 32), "red").save(data, "PNG")
    picture = uploaded(tmp_path, "x.png", data.getvalue())
    assert status_of(handler("set_picture")("my-cat.safetensors", picture)) == "Preview image set."
    assert services.library.get("my-cat").preview is not None
    broken = uploaded(tmp_path, "y.png", b"x")
    assert "The image cannot be read." in status_of(handler("set_picture")("my-cat.safetensors", broken))
    assert status_of(handler("draw_preview")("my dog.safetensors", "a [name]")) == "Preview image generated."
    assert services.host.requests[-1].prompt == "a my dog"  # type: ignore[attr-defined]
    assert "No training run is selected." in status_of(handler("take_run")("my-cat.safetensors", None))


def test_a_renaming_is_undone(handler: Handler, components: Components, status_of: Any, services: Services) -> None:
    renamed = handler("rename")("my-cat.safetensors", "your-cat")
    assert names(services) == ["my dog", "your-cat"]
    updates = handler("undo")(undoing(renamed))
    assert updates[components["te_library_selected"]] == "my-cat.safetensors"
    assert (status_of(updates), names(services)) == ("Restored my-cat.", ["my dog", "my-cat"])


def test_restoring_onto_a_taken_name_offers_two_ways_out(
    handler: Handler, components: Components, status_of: Any, services: Services
) -> None:
    status, name = components["te_library_status"], components["te_library_restore_as"]
    services.library.set_notes("my-cat", {"notes": "the old one"})
    deleted = handler("delete")("my-cat.safetensors")
    services.library.copy("my dog", "my-cat")
    label = trash_label(services.library.trashed()[0])
    for refused in (handler("undo")(undoing(deleted)), handler("restore")(label)):
        assert "te-taken" in refused[status]
        buttons = [components[f"te_library_{button}"].value for button in ("restore_under", "replace")]
        assert 'Use "{}" or "{}".'.format(*buttons) in status_of(refused)
        assert refused[name] == "my-cat-2"
    again = handler("restore_under_name")(undoing(refused), "my dog")
    assert "te-taken" in again[status]
    restored = handler("restore_under_name")(undoing(again), "their-cat")
    assert (status_of(restored), services.library.get("their-cat").notes.notes) == ("Restored their-cat.", "the old one")
    assert "te-deleted" in restored[status]
    handler("undo")(undoing(restored))
    assert names(services) == ["my dog", "my-cat"]


def test_a_restored_embedding_that_replaced_another_goes_back(handler: Handler, status_of: Any, services: Services) -> None:
    services.library.set_notes("my-cat", {"notes": "the old one"})
    deleted = handler("delete")("my-cat.safetensors")
    services.library.copy("my dog", "my-cat")
    refused = handler("undo")(undoing(deleted))
    replaced = handler("replace_present")(undoing(refused))
    assert (status_of(replaced), services.library.get("my-cat").notes.notes) == ("Restored my-cat.", "the old one")
    undone = handler("undo")(undoing(replaced))
    assert (status_of(undone), services.library.get("my-cat").notes.notes) == ("Restored my-cat.", "")
    assert torch.equal(services.library.read("my-cat").vectors["clip_l"], services.library.read("my dog").vectors["clip_l"])


def test_a_replaced_file_without_notes_of_its_own_goes_back_to_those_that_stayed(handler: Handler, services: Services) -> None:
    first = services.library.read("my-cat").vectors["clip_l"]
    services.library.set_notes("my-cat", {"notes": "mine"})
    handler("convert")("my dog.safetensors", "pt", "my-cat", True)
    refused = handler("restore")(trash_label(services.library.trashed()[0]))
    replaced = handler("replace_present")(undoing(refused))
    assert torch.equal(services.library.read("my-cat").vectors["clip_l"], first)
    handler("undo")(undoing(replaced))
    assert not torch.equal(services.library.read("my-cat").vectors["clip_l"], first)
    assert services.library.get("my-cat").notes.notes == "mine"


def test_a_renaming_is_undone_although_its_name_is_taken(
    handler: Handler, components: Components, status_of: Any, services: Services
) -> None:
    renamed = handler("rename")("my-cat.safetensors", "your-cat")
    services.library.copy("my dog", "my-cat")
    refused = handler("undo")(undoing(renamed))
    assert refused[components["te_library_restore_as"]] == "my-cat-2"
    assert 'already an embedding "my-cat".Use "Restore under this name"' in status_of(refused)
    assert status_of(handler("restore_under_name")(undoing(refused), "my-cat-2")) == "Restored my-cat-2."
    assert names(services) == ["my dog", "my-cat", "my-cat-2"]
    services.library.rename("my-cat-2", "your-cat")
    handler("replace_present")(undoing(refused))
    assert names(services) == ["my dog", "my-cat"]
    assert services.library.trashed()[0].embeddings == ("my-cat.safetensors",)


def test_a_conversion_that_overwrites_is_undone(handler: Handler, services: Services) -> None:
    before = services.library.read("my dog").vectors["clip_l"]
    converted = handler("convert")("my-cat.safetensors", "pt", "my dog", True)
    assert not torch.equal(services.library.read("my dog").vectors["clip_l"], before)
    handler("undo")(undoing(converted))
    assert torch.equal(services.library.read("my dog").vectors["clip_l"], before)
    assert names(services) == ["my dog", "my-cat"]


def test_an_embedding_is_chosen_for_training(handler: Handler, components: Components, status_of: Any) -> None:
    updates = handler("train_further")("my-cat.safetensors")
    assert updates[components["te_train_embedding"]]["value"] == "my-cat"
    assert updates[components["te_tabs"]]["selected"] == "te_tab_train"
    assert "No embedding is selected." in status_of(handler("train_further")(""))


def test_converting(handler: Handler, components: Components, status_of: Any, services: Services) -> None:
    updates = handler("convert")("my-cat.safetensors", "pt", "")
    assert "Converted my-cat." in status_of(updates)
    assert updates[components["te_library_selected"]] == "my-cat.pt"
    updates = handler("convert")("my-cat.pt", "png", " picture ")
    assert updates[components["te_library_selected"]] == "picture.png"
    assert names(services) == ["my dog", "my-cat", "picture"]
    assert "Overwrite" in status_of(handler("convert")("my-cat.pt", "safetensors", "my dog"))
    assert "Converted my-cat." in status_of(handler("convert")("my-cat.pt", "safetensors", "my dog", True))
    assert "already has that format" in status_of(handler("convert")("my-cat.pt", "pt", ""))
    assert "Load an SDXL checkpoint." in status_of(handler("convert")("my-cat.pt", "sdxl", ""))


def test_only_formats_that_the_host_loads_are_offered() -> None:
    assert [value for _, value in library_files.conversions((".pt", ".safetensors", ".bin"))] == ["pt", "safetensors", "sdxl"]
    values = [value for _, value in library_files.conversions(HostInfo.file_suffixes)]
    assert values == [
        "pt",
        "safetensors",
        "png",
        "webp",
        "sdxl",
    ]


def test_converting_to_sdxl(tmp_path: Path) -> None:
    host = vocabulary_host(tmp_path, {"clip_l": 768, "clip_g": 1280})
    services = Services(host)
    services.library.save(Embedding("red", {"clip_l": host.token_embeddings("red castle")["clip_l"]}))
    entry, *sentences = library_files.convert(services, services.library.get("red"), SDXL, "")
    assert (entry.name, entry.family, entry.loaded) == ("red-sdxl", "SDXL", True)
    assert sentences[:2] == ["Converted red.", f"Saved to {entry.file}"]
    assert any("red" in sentence for sentence in sentences[2:])
    assert torch.equal(services.library.read("red-sdxl").vectors["clip_g"], host.token_embeddings("red castle")["clip_g"])


def test_importing_by_path(handler: Handler, components: Components, status_of: Any, services: Services, tmp_path: Path) -> None:
    folder = tmp_path / "my downloads"
    folder.mkdir()
    (folder / "new 剣.safetensors").write_bytes(services.library.export("my-cat").data)
    (folder / "new 剣.json").write_text('{"description": "A sword."}')
    updates = handler("bring")(f'\n "{folder / "new 剣.safetensors"}" \n')
    assert "1 embedding imported." in status_of(updates)
    assert 'Imported with it: "new 剣.json".' in status_of(updates)
    assert updates[components["te_library_paths"]] == ""
    assert services.library.get("new 剣").notes.description == "A sword."
    wrong = str(folder / "none.pt")
    updates = handler("bring")(wrong)
    assert "does not exist" in status_of(updates)
    assert updates[components["te_library_paths"]] == wrong, "what is to be corrected stays"
    assert status_of(handler("bring")("")).startswith("No path is given.")


def test_export(handler: Handler, components: Components, services: Services) -> None:
    choices = components["te_library_form"].choices
    forms = [choice if isinstance(choice, str) else choice[1] for choice in choices]
    for form, name in (("unchanged", "my-cat.safetensors"), ("webui .pt", "my-cat.pt"), ("kohya .bin", "my-cat.bin")):
        assert form in forms
        updates = handler("export")("my-cat.safetensors", form)
        assert name in said(updates, components["te_library_exported"])


def test_export_for_a_program(
    handler: Handler, components: Components, services: Services, status_of: Callable[[dict[Any, Any]], str]
) -> None:
    services.library.copy("my-cat", "My Cat")
    updates = handler("export")("My Cat.safetensors", "comfyui")
    assert "My_Cat.safetensors" in said(updates, components["te_library_exported"])
    assert "Trigger word: embedding:My_Cat" in status_of(updates)


def test_export_to_share(handler: Handler, components: Components, status_of: Callable[[dict[Any, Any]], str]) -> None:
    updates = handler("export")("my-cat.safetensors", "civitai", "CC BY 4.0")
    assert "my-cat-civitai.zip" in said(updates, components["te_library_exported"])
    assert "paste the texts from README.md" in status_of(updates)
    assert "my-cat.png" in said(handler("export")("my-cat.safetensors", "card", ""), components["te_library_exported"])
    assert "at most 1000" in status_of(handler("export")("my-cat.safetensors", "civitai", "x" * 1001))


def test_a_look_inside(handler: Handler, components: Components) -> None:
    updates = handler("inspect")("my-cat.safetensors", True)
    text = said(updates, components["te_library_report"])
    assert "Nearest tokens" in text
    assert "my dog2" in text


def test_a_look_inside_many_vectors(handler: Handler, components: Components, services: Services) -> None:
    put(services.host, "many", {"clip_l": torch.ones(257, 8)})  # pyright: ignore[reportArgumentType]
    report = handler("inspect")("many.safetensors", False)[components["te_library_report"]]
    assert "shown for at most 256" in Reader(report).text
    assert "<img" not in report


def test_tokens_of_a_prompt(handler: Handler, components: Components) -> None:
    text = said(handler("tokenize")("a photo of my-cat"), components["te_library_tokens"])
    assert text.startswith("5 of 75 tokens used, 70 left.")
    assert "my-cat 1my-cat 2" in text
    assert handler("tokenize")("  ")[components["te_library_tokens"]] == ""


def test_combining(handler: Handler, components: Components, services: Services) -> None:
    report = components["te_library_combined"]
    rows = ["my-cat", "my dog", "", "", "", "", 0.5, 0.5, 1, 1, 1, 1]
    formula = handler("fill")("sum", *rows)[components["te_library_expression"]]
    assert formula == "0.5 * my-cat + 0.5 * 'my dog'"
    assert "Nearest tokens" in said(handler("preview")(formula), report)
    assert names(services) == ["my dog", "my-cat"], "a preview saves nothing"
    drawn = handler("draw")(formula, "a [name]")[components["te_library_mix_picture"]]
    assert isinstance(drawn["value"], Image.Image)
    assert "Created both with 2 vectors." in said(handler("save")(formula, "both", False), report)
    assert "already" in said(handler("save")(formula, "both", False), report)
    assert "No embedding is given." in said(handler("fill")("sum", *[""] * 6, *[1] * 6), report)
    assert "my-cat + * 2\n         ^" in said(handler("preview")("my-cat + * 2"), report)


def test_import_under_the_names_that_the_files_had(
    handler: Handler, components: Components, status_of: Any, services: Services, tmp_path: Path
) -> None:
    data = (services.host.info().embeddings_folder / "my-cat.safetensors").read_bytes()
    files = [uploaded(tmp_path, "c++.safetensors", data), uploaded(tmp_path, "broken.pt", b"x")]
    told = json.dumps({"names": ["c++.safetensors", "broken.pt"], "folder": "new", "overwrite": False})
    before = handler("poll")(None, "")[components["te_cards_version"]]
    text = status_of(handler("take")(files, told))
    assert text.startswith("1 embedding imported.")
    assert "broken.pt" in text
    assert services.library.get("c++").folder == "new"
    assert handler("poll")(None, "")[components["te_cards_version"]] != before
    # without word of the script, or with word of other files, their names are those that came
    text = status_of(handler("take")(files[:1], told))
    assert services.library.get("c").name == "c", text


def test_a_failed_import_is_a_sentence(handler: Handler, status_of: Any) -> None:
    assert "No file was received." in status_of(handler("take")(None, ""))
