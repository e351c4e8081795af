"""Interchange with other programs: diffusers' own loader on what is written here, and files made as others make them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from diffusers.loaders.textual_inversion import TextualInversionLoaderMixin
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.formats import read_bytes, read_embedding, read_pair, write_embedding
from train_embedding.engine.prompts.tokenizer import FOLDER
from train_embedding.services.library.export import Wanted, make_export

KEYS = {"kohya": "emb_params", "onetrainer": "emp_params"}
WIDTH = 8
VECTORS = torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(3))


class Pipeline(DiffusionPipeline, TextualInversionLoaderMixin):
    """A pipeline that is nothing but a text encoder."""

    def __init__(self, tokenizer: Any, text_encoder: Any) -> None:
        super().__init__()
        self.register_modules(tokenizer=tokenizer, text_encoder=text_encoder)

    def vectors(self, name: str, count: int) -> torch.Tensor:
        """What diffusers loaded under a name, [count, d]."""
        tokens = [name, *(f"{name}_{number}" for number in range(1, count))]
        ids = self.tokenizer.convert_tokens_to_ids(tokens)
        assert self.tokenizer.unk_token_id not in ids
        return self.text_encoder.get_input_embeddings().weight.detach()[ids]


@pytest.fixture
def pipeline() -> Pipeline:
    sizes = {"hidden_size": WIDTH, "intermediate_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = CLIPTextConfig(**sizes, vocab_size=49408, bos_token_id=49406, eos_token_id=49407)
    tokenizer = CLIPTokenizer(str(FOLDER / "vocab.json"), str(FOLDER / "merges.txt"))
    return Pipeline(tokenizer, CLIPTextModel(config))


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(
    ("form", "suffix"),
    [("webui", ".pt"), ("webui", ".bin"), ("diffusers", ".bin"), ("diffusers", ".pt"), ("diffusers", ".safetensors")],
)
def test_diffusers_loads_it_under_its_name(tmp_path: Path, pipeline: Pipeline, form: str, suffix: str, count: int) -> None:
    write_embedding(Embedding("my-sword", {"clip_l": VECTORS[:count]}, 5), tmp_path / f"my-sword{suffix}", form)
    pipeline.load_textual_inversion(str(tmp_path), weight_name=f"my-sword{suffix}")
    assert torch.equal(pipeline.vectors("my-sword", count), VECTORS[:count])


@pytest.mark.parametrize("form", ["safetensors", "kohya", "onetrainer"])
def test_diffusers_loads_it_under_a_name_that_it_is_told(tmp_path: Path, pipeline: Pipeline, form: str) -> None:
    write_embedding(Embedding("my-sword", {"clip_l": VECTORS}), tmp_path / "my-sword.safetensors", form)
    pipeline.load_textual_inversion(str(tmp_path), weight_name="my-sword.safetensors", token="my-sword")
    assert torch.equal(pipeline.vectors("my-sword", 3), VECTORS)


@pytest.mark.parametrize("name", ["my-sword", "My Sword", "sword", "剣2", "Épée & co"])
def test_diffusers_calls_every_vector_of_an_export_for_it(tmp_path: Path, pipeline: Pipeline, name: str) -> None:
    write_embedding(Embedding(name, {"clip_l": VECTORS}), tmp_path / f"{name}.pt")
    made = make_export(tmp_path / f"{name}.pt", Wanted(program="diffusers"))
    (tmp_path / made.file_name).write_bytes(made.data)
    pipeline.load_textual_inversion(str(tmp_path), weight_name=made.file_name, token=made.trigger)
    prompt = pipeline.maybe_convert_prompt(f"a photo of {made.trigger} there", pipeline.tokenizer)
    new = [token - 49408 for token in pipeline.tokenizer(prompt)["input_ids"] if token >= 49408]
    assert new == [0, 1, 2]
    assert torch.equal(pipeline.vectors(made.trigger, 3), VECTORS)


def test_diffusers_loads_each_encoder_of_sdxl(tmp_path: Path, pipeline: Pipeline) -> None:
    """As its guide does: the state of each encoder from one file."""
    embedding = Embedding("my-sword", {"clip_l": VECTORS, "clip_g": -VECTORS})
    write_embedding(embedding, tmp_path / "my-sword.safetensors", "diffusers")
    state = load_file(tmp_path / "my-sword.safetensors")
    pipeline.load_textual_inversion(state["clip_g"], token="my-sword")
    assert torch.equal(pipeline.vectors("my-sword", 3), -VECTORS)


@pytest.mark.parametrize("suffix", [".bin", ".safetensors"])
@pytest.mark.parametrize("vectors", [VECTORS, VECTORS[0]], ids=["2-D", "1-D"])
def test_what_diffusers_examples_save(tmp_path: Path, suffix: str, vectors: torch.Tensor) -> None:
    path = tmp_path / f"learned_embeds{suffix}"
    learned = {"<cat-toy>": torch.nn.Parameter(vectors).detach().cpu()}
    if suffix == ".bin":
        torch.save(learned, path)
    else:
        save_file(learned, path, metadata={"format": "pt"})
    read = read_embedding(path)
    assert torch.equal(read.vectors["clip_l"], vectors.reshape(-1, WIDTH))
    assert (read.format, read.metadata) == ("diffusers", {"token": "<cat-toy>"})


def test_what_diffusers_sdxl_example_saves(tmp_path: Path) -> None:
    widths = {"learned_embeds.safetensors": 768, "learned_embeds_2.safetensors": 1280}
    for name, width in widths.items():
        save_file({"<cat-toy>": torch.full((2, width), float(width))}, tmp_path / name, metadata={"format": "pt"})
    first, second = ((tmp_path / name).read_bytes() for name in widths)
    read = read_pair(first, second, "learned_embeds.safetensors")
    assert (read.name, read.family, read.count) == ("learned_embeds", "SDXL", 2)
    assert {key: float(vectors.mean()) for key, vectors in read.vectors.items()} == {"clip_l": 768.0, "clip_g": 1280.0}


def _kohya(path: Path, values: dict[str, torch.Tensor]) -> None:
    """As kohya's save_weights does: half precision, and metadata in the header of a safetensors file."""
    half = {key: value.detach().clone().to("cpu").to(torch.float16) for key, value in values.items()}
    save_file(half, path, {"modelspec.title": "sword"}) if path.suffix == ".safetensors" else torch.save(half, path)


def _onetrainer(path: Path, values: dict[str, torch.Tensor]) -> None:
    """As OneTrainer's EmbeddingSaverMixin does, in the precision it was told."""
    save_file({key: value.to(torch.bfloat16) for key, value in values.items()}, path, {"modelspec.title": "sword"})


@pytest.mark.parametrize(
    ("form", "suffix", "save", "dtype"),
    [
        ("kohya", ".pt", _kohya, torch.float16),
        ("kohya", ".safetensors", _kohya, torch.float16),
        ("onetrainer", ".safetensors", _onetrainer, torch.bfloat16),
    ],
)
def test_what_other_trainers_save(
    tmp_path: Path, form: str, suffix: str, save: Callable[[Path, dict[str, torch.Tensor]], None], dtype: torch.dtype
) -> None:
    path = tmp_path / f"sword{suffix}"
    save(path, {KEYS[form]: VECTORS})
    read = read_embedding(path)
    assert read.format == form
    assert torch.equal(read.vectors["clip_l"], VECTORS.to(dtype).float())
    assert read.metadata == ({"modelspec.title": "sword"} if suffix == ".safetensors" else {})
    save(path, {"clip_l": VECTORS, "clip_g": -VECTORS})
    assert torch.equal(read_bytes(path.read_bytes(), path.name).vectors["clip_g"], -VECTORS.to(dtype).float())
