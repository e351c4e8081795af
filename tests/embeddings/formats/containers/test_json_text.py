"""JSON with tensors: what the WebUI's encoder writes, and numbers that keep every bit."""

from __future__ import annotations

import json

import pytest
import torch

from train_embedding.embeddings.formats.containers import json_text
from train_embedding.errors import UnreadableFile


def test_as_the_webui_writes() -> None:
    tensor = torch.tensor([[0.1, -2.0]])
    assert json.loads(json_text.encode({"a": {"*": tensor}, "b": None})) == {
        "a": {"*": {"TORCHTENSOR": [[0.10000000149011612, -2.0]]}},
        "b": None,
    }


def test_every_finite_number_of_fp32_that_matters() -> None:
    bits = torch.randint(-(2**31), 2**31, (20_000,), generator=torch.Generator().manual_seed(1)).to(torch.int32)
    numbers = bits.view(torch.float32)
    numbers = numbers[torch.isfinite(numbers)]
    read = json_text.decode(json_text.encode({"a": numbers}), "a.png")["a"]
    assert isinstance(read, torch.Tensor)
    assert torch.equal(read.float().view(torch.int32), numbers.view(torch.int32))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "damaged"),
        (b"[]", "not an object"),
        (b'{"a": {"TORCHTENSOR": [[1], [2, 3]]}}', "damaged"),
        (b'{"a": {"TORCHTENSOR": "x"}}', "damaged"),
        (b"\xff\xfe", "damaged"),
        (b'{"a": [' + b"[]," * 10_000 + b"[]]}", "10,000 lists"),
        (b'{"a": "' + b"x" * json_text.MAX_JSON + b'"}', "4 MB"),
    ],
)
def test_refused(text: bytes, reason: str) -> None:
    with pytest.raises(UnreadableFile, match=reason):
        json_text.decode(text, "a.png")
