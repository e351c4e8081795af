"""What is pointed out about an embedding beside others."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
import torch

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.formats import encode
from train_embedding.services.library.file_summary import FileSummary
from train_embedding.services.library.library import Library
from train_embedding.services.library.listing import Catalog, ListedFile, ListedFolder, NotesFile
from train_embedding.services.library.warnings import names_within_names, warnings_for_files, warnings_for_new_name
from train_embedding.services.store.scan import ScannedFolder
from train_embedding.testing import FakeHost


def found(path: str, fingerprint: str = "", problem: str = "", notes: str = "") -> ListedFile:
    whole = Path("/embeddings", path)
    folder = whole.parent.relative_to("/embeddings").as_posix()
    summary = FileSummary(fingerprint=fingerprint or path, problem=problem)
    return ListedFile(whole, whole.stem, "" if folder == "." else folder, summary, 1, 1.0, (), NotesFile(problem=notes))


def warnings(*files: ListedFile) -> dict[str, tuple[str, ...]]:
    root = Path("/embeddings")
    folder = ListedFolder(ScannedFolder(root, "", None, frozenset(), ()), None, files)
    catalog = Catalog(root, [folder])
    return {file.relative_path: found for file, found in zip(files, warnings_for_files(files, catalog), strict=True)}


def test_nothing_to_say() -> None:
    assert warnings(found("sksword.pt"), found("qzxdog.pt")) == {"sksword.pt": (), "qzxdog.pt": ()}


def test_same_name_and_same_vectors() -> None:
    said = warnings(found("sksword.pt", "1"), found("old/sksword.bin", "2"), found("other-one.pt", "1"))
    assert said["sksword.pt"] == (
        '"old/sksword.bin" has the same name.',
        '"other-one.pt" has the same vectors.',
    )
    assert said["old/sksword.bin"] == ('"sksword.pt" has the same name.',)
    assert said["other-one.pt"] == ('"sksword.pt" has the same vectors.',)


def test_names_that_contain_one_another() -> None:
    said = warnings(*(found(f"{name}.pt") for name in ("qzx", "qzx-2", "my-QZX-3", "qzx-4", "qzx-5", "QZX")))
    assert said["qzx.pt"][0] == 'Its name contains the name of "QZX".'
    assert said["qzx.pt"][1] == 'Its name is part of the name of "my-QZX-3", "qzx-2", "qzx-4" and 1 more.'
    assert said["my-QZX-3.pt"] == ('Its name contains the name of "QZX", "qzx".',)


def test_ordinary_words() -> None:
    assert warnings(found("tree.pt"))["tree.pt"] == (
        '"tree" is a common word: every prompt that contains it triggers the embedding. A rarer name is safer.',
    )


def test_a_new_name_within_others() -> None:
    assert warnings_for_new_name("Qzx-deco", ["qzx", "my qzx-deco lamp", "decor", "Qzx-deco"])[:2] == [
        'Its name contains the name of "qzx".',
        'Its name is part of the name of "my qzx-deco lamp".',
    ]


def test_a_new_name_that_differs_in_case_only() -> None:
    assert warnings_for_new_name("Qzxord", ["qzxord"])[:1] == ['Its name contains the name of "qzxord".']
    assert not any("contained" in sentence for sentence in warnings_for_new_name("Qzxord", ["qzxord"]))


def test_a_new_name_that_is_a_word_of_the_model() -> None:
    word = "is a common word"
    assert any(word in sentence for sentence in warnings_for_new_name("tree", []))
    assert not any(word in sentence for sentence in warnings_for_new_name("sksword", []))


def test_one_name_in_two_unicode_forms() -> None:
    composed, decomposed = "qzx\u00e9", "qzxe\u0301"
    sentence = "has the same name in another Unicode form; prompts cannot distinguish the two."
    assert [one for one in warnings_for_new_name(composed, [decomposed]) if "name" in one][:1] == [f'"{decomposed}" {sentence}']
    said = warnings(found(f"{composed}.pt"), found(f"a/{decomposed}.pt"))
    assert said[f"{composed}.pt"] == (f'"a/{decomposed}.pt" {sentence}',)
    inside, _ = names_within_names((composed, f"my {decomposed} lamp"))
    assert inside[f"my {decomposed} lamp"] == [composed]


@pytest.mark.parametrize(("name", "count"), [("AND", 1), ("you AND me", 1), ("BREAK", 1), ("BRAND", 0), ("and", 0)])
def test_keywords_of_prompts(name: str, count: int) -> None:
    for sentences in (warnings_for_new_name(name, []), warnings(found(f"{name}.pt"))[f"{name}.pt"]):
        assert sum("is a keyword in prompts" in sentence for sentence in sentences) == count


def test_files_that_cannot_be_read_collide_with_nothing() -> None:
    assert warnings(found("tree.pt", problem="It is empty."), found("a/tree.pt", problem="It is empty.")) == {
        "tree.pt": (),
        "a/tree.pt": (),
    }
    assert warnings(found("sksword.pt", notes="They cannot be read."))["sksword.pt"] == ("They cannot be read.",)


def test_as_comparing_each_with_each() -> None:
    generator = random.Random(3)
    words = ["a", "ab", "cat", "art", "star", "style", "ink", "É", "ß", "剣", "-", "v2", "v"]
    names = tuple(sorted({"".join(generator.choices(words, k=generator.randint(1, 4))) for _ in range(400)}))
    inside, around = names_within_names(names)
    for name in names:
        others = [other for other in names if other != name]
        assert sorted(inside.get(name, ())) == [one for one in others if one.casefold() in name.casefold()]
        assert sorted(around.get(name, ())) == [one for one in others if name.casefold() in one.casefold()]


def test_ten_thousand_names_cost_no_square() -> None:
    generator = random.Random(4)
    names = tuple(sorted(f"style-{generator.getrandbits(60):x}-v{number % 9}" for number in range(10_000)))
    start = time.process_time()
    names_within_names(names)
    assert time.process_time() - start < 3, "comparing each with each takes a minute"


@pytest.mark.parametrize(("suffix", "form"), [(".ckpt", ".pt"), (".pth", ".pt"), (".sft", ".safetensors")])
def test_files_that_the_webui_passes_over_are_listed_and_told(fake_host: FakeHost, suffix: str, form: str) -> None:
    embedding = Embedding("sksword", {"clip_l": torch.ones(2, 768)})
    (fake_host.info().embeddings_folder / f"sksword{suffix}").write_bytes(encode(embedding, "kohya", form))
    (entry,) = Library(fake_host).list()
    assert (entry.name, entry.vectors, entry.family) == ("sksword", 2, "SD1")
    assert entry.warnings == (f"The WebUI does not load {suffix} files. Convert it to .pt or .safetensors.",)


def test_the_token_of_a_file_whose_name_says_nothing(fake_host: FakeHost) -> None:
    file = fake_host.info().embeddings_folder / "learned_embeds.bin"
    torch.save({"<cat-toy>": torch.ones(2, 768)}, file)
    (entry,) = Library(fake_host).list()
    assert 'It was trained with the trigger word "<cat-toy>", but its file name is the trigger word here.' in entry.warnings
    assert Library(fake_host).read("learned_embeds").metadata["token"] == "<cat-toy>"


def test_vectors_for_one_of_sdxls_encoders(fake_host: FakeHost) -> None:
    file = fake_host.info().embeddings_folder / "sksword.pt"
    torch.save({"clip_g": torch.ones(2, 1280)}, file)
    (entry,) = Library(fake_host).list()
    assert entry.family == "SDXL"
    assert "It has vectors for only one of SDXL's two text encoders (clip_g)." in entry.warnings
    assert entry.reason.startswith('"sksword" is for one of SDXL\'s two text encoders; the loaded checkpoint is ')
