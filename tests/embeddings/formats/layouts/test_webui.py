"""The `.pt` of the WebUI: what it writes is read, and what we write it reads."""

from __future__ import annotations

import io
import pickletools
from typing import Any

import pytest
import torch

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.formats import encode, read_bytes
from train_embedding.embeddings.formats.containers.torch_file import LEGACY_MAGIC
from train_embedding.errors import UnreadableFile

VECTORS = torch.arange(8.0).reshape(2, 4)


def saved(values: object) -> bytes:
    packed = io.BytesIO()
    torch.save(values, packed)
    return packed.getvalue()


def webui_file(parameters: object = None, **changes: Any) -> bytes:
    values = {
        "string_to_token": {"*": 265},
        "string_to_param": {"*": VECTORS} if parameters is None else parameters,
        "name": "inside",
        "step": 4999,
        "sd_checkpoint": "cc6cb27103",
        "sd_checkpoint_name": "v1-5",
    }
    return saved({**values, **changes})


def test_reads_what_the_webui_wrote() -> None:
    embedding = read_bytes(webui_file(), "sword.pt")
    assert torch.equal(embedding.vectors["clip_l"], VECTORS)
    assert (embedding.name, embedding.step, embedding.checkpoint_name, embedding.checkpoint_hash) == (
        "sword", 4999, "v1-5", "cc6cb27103",
    )  # fmt: skip


@pytest.mark.parametrize(
    "values",
    [
        {"*": VECTORS},
        {"<cat-toy>": VECTORS, "note": "text"},
        {"emb_params": VECTORS.half()},
        {"clip_l": VECTORS},
        {"string_to_param": {"*": torch.nn.Parameter(VECTORS)}},
        {"string_to_param": {"*": VECTORS.bfloat16()}, "step": None},
    ],
    ids=range(6),
)
def test_other_layouts(values: dict[str, object]) -> None:
    assert torch.equal(read_bytes(saved(values), "sword.pt").vectors["clip_l"], VECTORS)


def test_a_single_vector_without_its_dimension() -> None:
    assert read_bytes(saved({"<cat-toy>": torch.ones(1024)}), "sword.pt").widths == {"clip_h": 1024}


def test_sdxl() -> None:
    embedding = read_bytes(saved({"clip_l": torch.ones(2, 768), "clip_g": torch.zeros(2, 1280)}), "sword.pt")
    assert embedding.family == "SDXL"
    assert float(embedding.vectors["clip_l"].mean()) == 1.0


def test_a_parameter_dict() -> None:
    parameters = torch.nn.ParameterDict({"*": torch.nn.Parameter(VECTORS)})
    assert torch.equal(read_bytes(webui_file(parameters), "sword.pt").vectors["clip_l"], VECTORS)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([VECTORS], "contains a list"),
        (VECTORS, "contains a tensor"),
        ({}, "contains 0 tensors"),
        ({"string_to_param": {}}, "contains 0 tensors"),
        ({"string_to_param": VECTORS}, "contains 0 tensors"),
        ({"string_to_param": {"*": VECTORS, "+": VECTORS}}, "contains 2 tensors"),
        ({"unet.weight": VECTORS, "unet.bias": VECTORS}, "contains 2 tensors"),
        ({"*": torch.tensor(1.0)}, "2-D floating-point tensor"),
        ({"*": torch.ones(2, 4, dtype=torch.int32)}, "2-D floating-point tensor"),
        ({"*": torch.ones(1, 1).expand(2**20, 768)}, "too large"),
        ({"clip_l": torch.ones(2, 768), "clip_g": torch.ones(1, 1280)}, "different numbers of vectors"),
        ({"*": torch.full((1, 4), float("nan"))}, "NaN"),
    ],
)
def test_refused(values: object, reason: str) -> None:
    with pytest.raises(UnreadableFile, match=reason):
        read_bytes(saved(values), "sword.pt")


@pytest.mark.parametrize("step", ["12x", -5, True, [1], 1.5])
def test_an_odd_step_is_no_step(step: object) -> None:
    assert read_bytes(webui_file(step=step), "sword.pt").step is None


def test_written_in_the_old_layout_with_nothing_that_the_safe_unpickler_refuses() -> None:
    """modules/safe.py of WebUI 1.10.1 lets these names through, and no zip of torch 2.6 and newer."""
    data = encode(Embedding("sword", {"clip_l": VECTORS}, step=0), "webui", ".pt")
    assert data.startswith(LEGACY_MAGIC)
    stream, names = io.BytesIO(data), set[str]()
    for _ in range(5):
        names |= {str(argument) for opcode, argument, _ in pickletools.genops(stream) if opcode.name == "GLOBAL"}
    assert names == {"torch._utils _rebuild_tensor_v2", "torch FloatStorage", "collections OrderedDict"}


def test_written_as_the_webui_writes() -> None:
    data = encode(Embedding("sword", {"clip_l": VECTORS}, 7, "v1-5", "cc6cb27103"), "webui", ".pt")
    values = torch.serialization.load(io.BytesIO(data), weights_only=True)
    tensor = values["string_to_param"].pop("*")
    assert values == {
        "string_to_token": {"*": 265},
        "string_to_param": {},
        "name": "sword",
        "step": 7,
        "sd_checkpoint": "cc6cb27103",
        "sd_checkpoint_name": "v1-5",
    }
    assert torch.equal(tensor, VECTORS)
    assert (tensor.dtype, tensor.device.type, tensor.requires_grad) == (torch.float32, "cpu", False)


def test_sdxl_is_written_as_tensors_alone() -> None:
    vectors = {"clip_l": torch.ones(2, 768), "clip_g": torch.ones(2, 1280)}
    data = encode(Embedding("sword", vectors, 7, "sdxl"), "webui", ".pt")
    values = torch.serialization.load(io.BytesIO(data), weights_only=True)
    assert set(values) == {"clip_l", "clip_g"}
    assert all(isinstance(value, torch.Tensor) for value in values.values())
