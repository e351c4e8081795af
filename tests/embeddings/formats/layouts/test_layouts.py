"""Which keys mean what: kohya's, OneTrainer's, diffusers', SDXL's, and what is said of the rest."""

from __future__ import annotations

import time

import pytest
import torch
from safetensors.torch import save

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.formats import read_bytes
from train_embedding.embeddings.formats.content import Content
from train_embedding.embeddings.formats.layouts import KeyLayout, diffusers, kohya, onetrainer, sdxl, webui
from train_embedding.embeddings.formats.layouts.common import MAX_TEXT, MAX_TEXTS
from train_embedding.embeddings.formats.layouts.diffusers import first_of_pair, second_of_pair
from train_embedding.errors import InvalidInput, UnreadableFile

VECTORS = torch.arange(8.0).reshape(2, 4)
LAYOUTS: list[KeyLayout] = [webui, sdxl, kohya, onetrainer, diffusers]
ONE = Embedding("sword", {"clip_l": VECTORS})
TWO = Embedding("sword", {"clip_l": VECTORS, "clip_g": VECTORS})


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.NAME)
def test_reads_what_it_writes(layout: KeyLayout) -> None:
    content = layout.write(ONE)
    assert layout.sniff(content)
    read = layout.read(content, "sword.pt")
    assert torch.equal(read.vectors["clip_l"], VECTORS)
    assert read.format == layout.NAME


@pytest.mark.parametrize("layout", [webui, kohya, onetrainer, diffusers], ids=lambda layout: layout.NAME)
def test_one_text_encoder_only(layout: KeyLayout) -> None:
    with pytest.raises(InvalidInput, match="clip_l, clip_g"):
        layout.write(TWO)


@pytest.mark.parametrize(
    ("layout", "key"), [(kohya, "emb_params"), (onetrainer, "emp_params"), (diffusers, "sword"), (sdxl, "clip_l")]
)
def test_the_keys(layout: KeyLayout, key: str) -> None:
    assert list(layout.write(ONE).values) == [key]


@pytest.mark.parametrize("key", ["emp_params_out", "clip_l_out"])
def test_vectors_for_the_encoders_output_are_refused(key: str) -> None:
    content = Content({key: VECTORS, "clip_l": VECTORS} if key == "clip_l_out" else {key: VECTORS})
    layout = next(layout for layout in LAYOUTS if layout.sniff(content))
    with pytest.raises(UnreadableFile, match=r'"sword\.safetensors" contains vectors for'):
        layout.read(content, "sword.safetensors")


def test_onetrainers_input_vectors_are_taken_and_not_its_output_vectors() -> None:
    read = onetrainer.read(Content({"emp_params": VECTORS, "emp_params_out": -VECTORS}), "sword.safetensors")
    assert torch.equal(read.vectors["clip_l"], VECTORS)


def test_sd3_is_not_taken_for_sdxl() -> None:
    content = Content({"clip_l": VECTORS, "clip_g": VECTORS, "t5": VECTORS})
    with pytest.raises(UnreadableFile, match='also contains vectors for "t5"'):
        sdxl.read(content, "sword.safetensors")


@pytest.mark.parametrize(
    ("file", "first"),
    [
        ("learned_embeds_2.safetensors", "learned_embeds.safetensors"),
        ("learned_embeds_2-steps-500.safetensors", "learned_embeds-steps-500.safetensors"),
        ("剣_2.bin", "剣.bin"),
        ("learned_embeds.safetensors", ""),
        ("sword_20.safetensors", ""),
        ("_2.pt", ""),
        ("sword_2", ""),
    ],
)
def test_the_first_file_of_a_pair(file: str, first: str) -> None:
    assert first_of_pair(file) == first


@pytest.mark.parametrize("turned", [False, True])
def test_a_pair_whichever_comes_first(turned: bool) -> None:
    pair = [Embedding("a", {"clip_l": torch.ones(2, 768)}), Embedding("b", {"clip_g": torch.ones(2, 1280)})]
    first, second = reversed(pair) if turned else pair
    joined = diffusers.join(first, second, "sword.safetensors")
    assert (joined.name, joined.family, joined.format) == ("sword", "SDXL", "diffusers")


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        (ONE, ONE, "do not belong together"),
        (TWO, ONE, "do not belong together"),
        (ONE, Embedding("b", {"clip_g": torch.ones(3, 1280)}), "different numbers"),
    ],
)
def test_no_pair(first: Embedding, second: Embedding, reason: str) -> None:
    with pytest.raises(UnreadableFile, match=reason):
        diffusers.join(first, second, "sword.safetensors")


def test_what_a_file_says_about_itself() -> None:
    said = {
        "a": "text",
        "b": 3,
        "c": 1.5,
        "d": True,
        "step": 4,
        "sd_checkpoint": "cc",
        "sd_checkpoint_name": "v1",
        "format": "pt",
    }
    odd = {"e": None, "f": [1], "g": "", "h": "x" * (MAX_TEXT + 1), "i": "\ud800", "": "x", "j" * 5000: "x", "k": 2**70}
    read = kohya.read(Content({"emb_params": VECTORS}, {**said, **odd}), "sword.pt")
    assert read.metadata == {"a": "text", "b": "3", "c": "1.5", "d": "True"}
    assert (read.step, read.checkpoint_name, read.checkpoint_hash) == (4, "v1", "cc")


def test_it_does_not_say_without_end() -> None:
    many = {str(number): "x" for number in range(1000)}
    assert len(kohya.read(Content({"emb_params": VECTORS}, many), "sword.pt").metadata) == MAX_TEXTS


def test_fields_are_not_taken_from_metadata() -> None:
    metadata = {"step": "9", "name": "other", "string_to_param": "x"}
    written = webui.write(Embedding("sword", {"clip_l": VECTORS}, 3, metadata=metadata))
    assert webui.read(written, "sword.pt").step == 3
    assert written.values["name"] == "sword"


def test_one_text_under_thousands_of_keys_is_looked_at_once_in_a_while() -> None:
    text = "x" * 4_095 + "\ud800"
    metadata: dict[str, object] = {str(number): text for number in range(100_000)}
    began = time.process_time()
    read = kohya.read(Content({"emb_params": torch.ones(1, 8)}, metadata), "sword.pt")
    assert time.process_time() - began < 1
    assert read.metadata == {}


@pytest.mark.parametrize(
    "keys", [["clip_l_out"], ["clip_g_out"], ["clip_l", "clip_g", "clip_g_out"], ["emp_params_out"]], ids="+".join
)
def test_output_vectors_are_named_as_what_they_are(keys: list[str]) -> None:
    data = save({key: torch.ones(1, 8) for key in keys})
    with pytest.raises(UnreadableFile) as caught:
        read_bytes(data, "sword.safetensors")
    assert caught.value.message.endswith(f'output of text encoders ("{keys[-1]}"), which only OneTrainer can use.')


def test_one_of_sdxls_encoders_is_sdxl_where_the_file_says_so() -> None:
    def family(key: str, width: int, **metadata: str) -> str:
        return read_bytes(save({key: torch.ones(2, width)}, metadata), "sword.safetensors").family

    assert family("clip_g", 1280) == "SDXL"
    assert family("clip_l", 768) == "SD1"
    assert family("clip_l", 768, **{"modelspec.architecture": "stable-diffusion-xl-v1-base/textual-inversion"}) == "SDXL"
    assert family("clip_l", 768, ss_base_model_version="sdxl_base_v1-0") == "SDXL"
    assert family("clip_l", 768, ss_base_model_version="sd_v1") == "SD1"


@pytest.mark.parametrize("stem", ["learned_embeds", "learned_embeds-steps-500", "learned_embeds_2"])
def test_a_file_whose_name_says_nothing_keeps_its_token(stem: str) -> None:
    data = save({"<cat-toy>": torch.ones(2, 8)})
    assert read_bytes(data, f"{stem}.safetensors").metadata == {"token": "<cat-toy>"}
    assert read_bytes(data, "cat.safetensors").metadata == {}


def test_the_names_of_a_pair() -> None:
    assert second_of_pair("learned_embeds.bin") == "learned_embeds_2.bin"
    assert second_of_pair("learned_embeds-steps-500.safetensors") == "learned_embeds_2-steps-500.safetensors"
    assert second_of_pair("cat.bin") == second_of_pair("learned_embeds_2.bin") == ""
