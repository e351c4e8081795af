"""`.safetensors`: the layouts of other trainers, and the metadata in the header."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load, save

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.formats import encode, read_bytes
from train_embedding.errors import UnreadableFile

VECTORS = torch.arange(8.0).reshape(2, 4)
FORM = ("safetensors", ".safetensors")


@pytest.mark.parametrize("key", ["emb_params", "clip_l", "<cat-toy>"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_one_tensor_under_any_key(key: str, dtype: torch.dtype) -> None:
    embedding = read_bytes(save({key: VECTORS.to(dtype)}), "sword.safetensors")
    assert torch.equal(embedding.vectors["clip_l"], VECTORS)


def test_sdxl() -> None:
    data = save({"clip_l": torch.ones(2, 768), "clip_g": torch.zeros(2, 1280)})
    assert read_bytes(data, "sword.safetensors").family == "SDXL"


def test_written_for_others_to_read() -> None:
    one = load(encode(Embedding("sword", {"clip_h": torch.ones(2, 1024)}), *FORM))
    assert set(one) == {"emb_params"}
    two = load(encode(Embedding("sword", {"clip_l": torch.ones(2, 768), "clip_g": torch.ones(2, 1280)}), *FORM))
    assert set(two) == {"clip_l", "clip_g"}


def test_metadata_stands_in_the_header() -> None:
    data = encode(Embedding("sword", {"clip_l": VECTORS}, 7, "v1-5", "cc6cb27103"), *FORM)
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert header["__metadata__"] == {"name": "sword", "step": "7", "sd_checkpoint": "cc6cb27103", "sd_checkpoint_name": "v1-5"}


@pytest.mark.parametrize(("step", "expected"), [("7", 7), ("", None), ("-1", None), ("9" * 5000, None), ("²", None)])
def test_odd_metadata(step: str, expected: int | None) -> None:
    assert read_bytes(save({"emb_params": VECTORS}, {"step": step}), "sword.safetensors").step == expected


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({"lora_up": VECTORS, "lora_down": VECTORS + 1}, "contains 2 tensors"),
        ({"emb_params": torch.ones(2, 4, dtype=torch.int8)}, "2-D floating-point tensor"),
        ({"emb_params": torch.ones(1, 2, 4)}, "2-D floating-point tensor"),
    ],
)
def test_refused(tensors: dict[str, torch.Tensor], reason: str) -> None:
    with pytest.raises(UnreadableFile, match=reason):
        read_bytes(save(tensors), "sword.safetensors")


def test_a_tensor_of_many_dimensions_is_refused_in_a_short_sentence() -> None:
    header = b'{"emb_params":{"dtype":"F32","shape":[' + b"1," * 900_000 + b'4,4],"data_offsets":[0,64]}}'
    with pytest.raises(UnreadableFile) as caught:
        read_bytes(len(header).to_bytes(8, "little") + header + bytes(64), "evil.safetensors")
    assert caught.value.message == '"evil.safetensors" contains a tensor with 900002 dimensions; those of embeddings have two.'
