"""Image-to-text models: the true classes with random weights, and folders that are refused."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.caption_models import WORDS, make_blip, make_encoder_decoder
from train_embedding.engine.captioning import CaptionOptions, open_caption_model
from train_embedding.engine.prompts.attention_syntax import parse_attention
from train_embedding.errors import InvalidInput, NotFound, UnreadableFile

IMAGE = Image.linear_gradient("L").convert("RGB")


@pytest.mark.parametrize("make", [make_blip, make_encoder_decoder])
def test_a_model_describes_an_image_in_its_words(tmp_path: Path, make: Callable[..., Path]) -> None:
    captions = {open_caption_model(make(tmp_path / str(seed), seed)).describe(IMAGE) for seed in range(6)}
    words = " ".join(text for caption in captions for text, _weight in parse_attention(caption)).split()
    assert len(captions) > 1
    assert words
    assert set(words) <= set(WORDS)


def test_captions_have_at_most_the_given_number_of_tokens(tmp_path: Path) -> None:
    folder = make_blip(tmp_path, 1)
    long = open_caption_model(folder).describe(IMAGE)
    short = open_caption_model(folder, options=CaptionOptions(max_tokens=3)).describe(IMAGE)
    assert 0 < len(short) < len(long)


def test_weights_in_other_formats_are_not_loaded(tmp_path: Path) -> None:
    folder = make_blip(tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UnreadableFile, match="no weights in safetensors format"):
        open_caption_model(folder)


class _Payload:
    """A pickle of it creates a file when it is loaded."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.file,))


@pytest.mark.parametrize("how", ["next to", "index", "tokenizer", "config"])
def test_no_pickle_is_executed(tmp_path: Path, how: str) -> None:
    folder, executed = make_blip(tmp_path / "model"), tmp_path / "executed"
    weights, pickled = folder / "model.safetensors", folder / "pytorch_model.bin"
    pickled.write_bytes(pickle.dumps(_Payload(executed), protocol=2))
    if how == "next to":
        weights.rename(folder / "other.safetensors")
    elif how == "index":
        weights.rename(folder / "other.safetensors")
        index = {"metadata": {}, "weight_map": {"vision_model.embeddings.class_embedding": pickled.name}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    else:
        named = {"tokenizer_class": "TransfoXLTokenizer", "pretrained_vocab_file": str(pickled)}
        _change(folder / "tokenizer_config.json", **named)
        if how == "config":
            _change(folder / "tokenizer_config.json", tokenizer_class=None)
            _change(folder / "config.json", tokenizer_class="TransfoXLTokenizer")
    with pytest.raises(UnreadableFile):
        open_caption_model(folder)
    assert not executed.exists()


def _change(file: Path, **values: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def test_weights_in_several_files(tmp_path: Path) -> None:
    whole = open_caption_model(make_blip(tmp_path / "whole", 1)).describe(IMAGE)
    folder = make_blip(tmp_path / "parts", 1)
    weights = folder / "model.safetensors"
    tensors = load_file(weights)
    names = {name: f"model-0000{number % 2 + 1}-of-00002.safetensors" for number, name in enumerate(sorted(tensors))}
    for file in sorted(set(names.values())):
        save_file({name: tensors[name] for name in names if names[name] == file}, folder / file, {"format": "pt"})
    weights.unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    assert open_caption_model(folder).describe(IMAGE) == whole


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    file = make_blip(tmp_path) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(UnreadableFile, match="cannot be loaded"):
        open_caption_model(tmp_path)


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="does not exist"):
        open_caption_model(tmp_path / "none")
    with pytest.raises(UnreadableFile, match=r"neither config\.json nor selected_tags\.csv"):
        open_caption_model(tmp_path)
    for content, error in (
        (b"[]", InvalidInput),
        (b"{", UnreadableFile),
        (json.dumps({"model_type": "llava"}).encode(), InvalidInput),
    ):
        (tmp_path / "config.json").write_bytes(content)
        with pytest.raises(error):
            open_caption_model(tmp_path)
