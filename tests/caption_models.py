"""Caption models small enough for tests: random BLIP and encoder-decoder models, and a tagger that sees colours."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "green", "blue", "star", "(", ")", "on", "white")
TAGS = (("blue_sky", "0"), ("miku_(vocaloid)", "4"), ("o_o", "0"), ("general", "9"))
"Tags with their categories: their probabilities are the blue, green and red part of an image, and its brightness."
SIDE = 8


def make_blip(folder: Path, seed: int = 0) -> Path:
    """Write a random BLIP model for images of 16 pixels."""
    import torch
    from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration, BlipImageProcessor

    tokenizer: Any = BertTokenizer(str(_vocabulary(folder)))
    config: Any = BlipConfig(
        text_config={
            **_SMALL, "encoder_hidden_size": 16, "vocab_size": len(WORDS), "max_position_embeddings": 128,
            "bos_token_id": 2, "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0,
        },
        vision_config={**_SMALL, "image_size": 16, "patch_size": 8},
        projection_dim=16,
    )  # fmt: skip
    torch.manual_seed(seed)
    _save(folder, BlipForConditionalGeneration(config), tokenizer, BlipImageProcessor(size={"height": 16, "width": 16}))
    return folder


def make_encoder_decoder(folder: Path, seed: int = 0) -> Path:
    """Write a random encoder-decoder model, of a ViT and a GPT-2 with BERT's tokenizer."""
    import torch
    from transformers import (
        BertTokenizer,
        GPT2Config,
        VisionEncoderDecoderConfig,
        VisionEncoderDecoderModel,
        ViTConfig,
        ViTImageProcessor,
    )

    tokenizer: Any = BertTokenizer(str(_vocabulary(folder)))
    decoder: Any = GPT2Config(
        vocab_size=len(WORDS), n_embd=16, n_layer=1, n_head=2, n_positions=64, bos_token_id=2, eos_token_id=3, pad_token_id=0,
        is_decoder=True, add_cross_attention=True,
    )  # fmt: skip
    encoder: Any = ViTConfig(**_SMALL, image_size=16, patch_size=8)
    config: Any = VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = 2, 0, 3
    torch.manual_seed(seed)
    _save(folder, VisionEncoderDecoderModel(config), tokenizer, ViTImageProcessor(size={"height": 16, "width": 16}))
    return folder


def make_tagger(folder: Path, tags: tuple[tuple[str, str], ...] = TAGS) -> Path:
    """Write a tagger: the mean of each channel of an image, BGR from 0 to 255, by a matrix."""
    folder.mkdir(parents=True, exist_ok=True)
    matrix = [[1, 0, 0, 1 / 3], [0, 1, 0, 1 / 3], [0, 0, 1, 1 / 3]]
    data = b"".join(struct.pack("<4f", *(value / 255 for value in row)) for row in matrix)
    sides = _part(5, _ints("axes", (1, 2)))
    nodes = [
        _text(1, "image") + _text(2, "mean") + _text(4, "ReduceMean") + sides + _part(5, _int("keepdims", 0)),
        _text(1, "mean") + _text(1, "matrix") + _text(2, "probabilities") + _text(4, "MatMul"),
    ]  # fmt: skip
    constant = _number(1, 3) + _number(1, 4) + _number(2, 1) + _text(8, "matrix") + _part(9, data)
    graph = b"".join(_part(1, node) for node in nodes) + _text(2, "tagger") + _part(5, constant)
    graph += _part(11, _tensor("image", ("batch", SIDE, SIDE, 3))) + _part(12, _tensor("probabilities", ("batch", 4)))
    (folder / "model.onnx").write_bytes(_number(1, 8) + _part(7, graph) + _part(8, _text(1, "") + _number(2, 13)))
    rows = [f"{number},{name},{category},1" for number, (name, category) in enumerate(tags)]
    (folder / "selected_tags.csv").write_text("\n".join(["tag_id,name,category,count", *rows]), encoding="utf-8")
    return folder


def make_brightness_model(file: Path, side: int) -> None:
    """Write a model that returns the brightness of each pixel of an RGB image, as rembg's models return the foreground."""
    node = (
        _text(1, "image")
        + _text(2, "mean")
        + _text(4, "ReduceMean")
        + _part(5, _ints("axes", (1,)))
        + _part(5, _int("keepdims", 1))
    )
    graph = _part(1, node) + _text(2, "brightness")
    graph += _part(11, _tensor("image", (1, 3, side, side))) + _part(12, _tensor("mean", (1, 1, side, side)))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(_number(1, 8) + _part(7, graph) + _part(8, _text(1, "") + _number(2, 13)))


_SMALL: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


def _vocabulary(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "vocab.txt"
    file.write_text("\n".join(WORDS), encoding="utf-8")
    return file


def _save(folder: Path, model: Any, tokenizer: Any, processor: Any) -> None:
    model.save_pretrained(str(folder), safe_serialization=True)
    tokenizer.save_pretrained(str(folder))
    processor.save_pretrained(str(folder))


# An ONNX file is a protocol buffer, a list of fields; the numbers of the fields are those of onnx.proto3.


def _varint(value: int) -> bytes:
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*data, value))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _part(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _text(field: int, text: str) -> bytes:
    return _part(field, text.encode())


def _int(name: str, value: int) -> bytes:
    return _text(1, name) + _number(3, value) + _number(20, 2)


def _ints(name: str, values: tuple[int, ...]) -> bytes:
    return _text(1, name) + b"".join(_number(8, value) for value in values) + _number(20, 7)


def _tensor(name: str, shape: tuple[int | str, ...]) -> bytes:
    sizes = b"".join(_part(1, _text(2, size) if isinstance(size, str) else _number(1, size)) for size in shape)
    return _text(1, name) + _part(2, _part(1, _number(1, 1) + _part(2, sizes)))
