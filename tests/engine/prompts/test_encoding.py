"""Prompts as they are encoded: the WebUI's syntax acts on tokens and on the text encoder's output, and nowhere else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import families
from train_embedding.engine.config.spec import TrainingSpec
from train_embedding.engine.data.captions import Captions, batch_captions
from train_embedding.engine.model.diffusion_model import DiffusionModel, apply_emphasis, empty_vector_tables
from train_embedding.engine.prompts.chunking import BACKTRACK, EmbeddingNames, chunk_prompt
from train_embedding.engine.prompts.encoding import PromptTokenizer, batch_tokenized
from train_embedding.engine.prompts.splicing import PromptBatch, VectorRows, batch_prompts, tokenize_pieces
from train_embedding.engine.prompts.tokenizer import END_OF_TEXT, START_OF_TEXT, token_ids
from train_embedding.errors import InvalidInput

MADE = json.loads((Path(__file__).parent / "webui_prompts.json").read_text(encoding="utf-8"))
TAGGED = r"a \(red\) ball, (blue:1.4) sky, [grey] stone, BREAK green leaf"


def batch_of(*prompts: str) -> PromptBatch:
    tokenizer = PromptTokenizer()
    return batch_tokenized([tokenizer.tokenize(prompt) for prompt in prompts])


def caption_of(*captions: str) -> PromptBatch:
    return batch_captions(captions, "my-cat", VectorRows(0, 2))


def filled(ids: list[int]) -> list[int]:
    return [START_OF_TEXT, *ids, *[END_OF_TEXT] * (76 - len(ids))]


def kept_by_the_webui(case: dict[str, Any]) -> bool:
    layout = chunk_prompt(case["prompt"], EmbeddingNames(MADE["embeddings"]), case["backtrack"])
    return case["backtrack"] == BACKTRACK and not any("loses" in note for note in layout.notes)


@pytest.mark.parametrize("case", [*filter(kept_by_the_webui, MADE["laid_out"])], ids=lambda case: case["prompt"][:40])
def test_prompts_are_encoded_as_the_webui_lays_them_out(case: dict[str, Any]) -> None:
    tables = [(name, VectorRows(index * 100, count)) for index, (name, count) in enumerate(MADE["embeddings"])]
    first_rows = {name: vectors.first for name, vectors in tables}
    reading = PromptTokenizer(tables).tokenize(case["prompt"])
    for tokens, weights, chunk in zip(reading.tokens, reading.weights, case["chunks"], strict=True):
        assert [token for token, _slot in tokens] == chunk["ids"]
        assert [round(weight, 6) for weight in weights] == [weight for weight, count in chunk["weights"] for _ in range(count)]
        starts = [[place, name] for place, name in chunk["embeddings"] if tokens[place][1] == first_rows[name]]
        assert starts == chunk["embeddings"]


def test_a_tagged_caption() -> None:
    """Escaped brackets are brackets, and weights, BREAK and the embedding's name are no text."""
    batch = caption_of("my-cat, " + TAGGED)
    first = [0, 0, *token_ids(", a (red) ball, blue sky, grey stone,")]
    assert batch.ids.tolist() == [[filled(first), filled(token_ids("green leaf"))]]
    assert batch.slots[0, 0, 1:3].tolist() == [0, 1]
    assert batch.weights is not None
    expected = torch.ones(1, 2, 77)
    expected[0, 0, 1 + first.index(*token_ids("blue"))] = 1.4
    expected[0, 0, 1 + first.index(*token_ids("grey"))] = 1 / 1.1
    assert torch.allclose(batch.weights, expected)


def test_captions_and_template_lines_are_read_together() -> None:
    spec = TrainingSpec(embedding="my-cat", dataset="x", template=("([name]:1.3) by [filewords]",))
    batch = Captions(spec, [r"someone \(artist\), {red|red}"], 1).draw([0], 1)
    ids = [0, *token_ids("by someone (artist), red")]
    assert batch.ids.tolist() == [[filled(ids)]]
    assert batch.weights is not None
    assert batch.weights[0, 0, :3].tolist() == pytest.approx([1, 1.3, 1])


@pytest.mark.parametrize(
    "text",
    ["a [name] at night", "", "a big, red: star", "the " * 100, "{x} | y <lora:z:1> # AND", "[name] " + "the " * 74 + "[name]"],
)
def test_captions_without_syntax_are_as_they_were(text: str) -> None:
    pieces: list[str | VectorRows] = []
    for index, part in enumerate(text.split("[name]")):
        pieces += [*([VectorRows(0, 2)] if index else []), *([part] if part.strip() else [])]
    batch, plain = caption_of(text), batch_prompts([tokenize_pieces(pieces)])
    assert batch.weights is None
    assert torch.equal(batch.ids, plain.ids)
    assert torch.equal(batch.slots, plain.slots)


def test_what_only_drawing_knows_is_text_in_captions() -> None:
    """As in the WebUI's trainer: `[a:b:0.5]` and `[a|b]` are brackets that weigh."""
    for text, inside in (("[red:blue:0.5] star", "red:blue:0.5"), ("[red|blue] star", "red|blue")):
        batch = caption_of(text)
        ids = [*token_ids(inside), *token_ids("star")]
        assert batch.ids.tolist() == [[filled(ids)]]
        assert batch.weights is not None
        assert batch.weights[0, 0, 1].item() == pytest.approx(1 / 1.1)


def test_shorter_prompts_are_filled_with_chunks_that_weigh_1() -> None:
    batch = batch_of("a (star:1.5) BREAK b", "tree")
    assert batch.ids.shape == (2, 2, 77)
    assert batch.weights is not None
    assert batch.weights[1].eq(1).all()
    assert batch.select(slice(1, 2)).weights is not None
    assert batch.to(torch.device("cpu")).weights is not None


def test_an_embedding_that_moves_to_the_next_chunk_keeps_its_vectors() -> None:
    batch = caption_of("word " * 60 + ", [name] " + "red " * 15)
    assert batch.slots[0, 0].max() == -1
    assert batch.slots[0, 1, 1:3].tolist() == [0, 1]


def test_a_weight_that_is_not_a_number() -> None:
    with pytest.raises(InvalidInput, match="is not a number"):
        caption_of("(a:1.2.3)")


@torch.no_grad()
def test_a_weight_multiplies_the_output_and_keeps_its_mean(tiny_model: DiffusionModel) -> None:
    """By hand: each token's states times its weight, and the chunk's mean restored (the WebUI's "Emphasis: Original")."""
    plain = tiny_model.encode_prompts(
        batch_prompts([tokenize_pieces(["a big red star"])]), empty_vector_tables(tiny_model)
    ).context
    weights = torch.ones(77)
    weights[3] = 1.4
    weights[4] = 0.8
    expected = plain * weights[:, None]
    expected = expected * (plain.mean() / expected.mean())
    context = tiny_model.encode_prompts(batch_of("a big (red:1.4) (star:0.8)"), empty_vector_tables(tiny_model)).context
    assert torch.allclose(context, expected, atol=1e-5)
    assert not torch.allclose(context, plain, atol=1e-2)


@torch.no_grad()
def test_a_prompt_does_not_depend_on_the_weights_of_its_neighbours(tiny_model: DiffusionModel) -> None:
    both = tiny_model.encode_prompts(batch_of("a (star:1.5)", "a tree"), empty_vector_tables(tiny_model)).context
    for row, prompt in enumerate(("a (star:1.5)", "a tree")):
        alone = tiny_model.encode_prompts(batch_of(prompt), empty_vector_tables(tiny_model)).context
        assert torch.allclose(both[row], alone[0], atol=1e-5)


@torch.no_grad()
def test_each_chunk_keeps_its_own_mean_and_what_is_pooled_has_no_weights() -> None:
    """SDXL: of each encoder, as the WebUI, which weighs each encoder's output on its own."""
    model = families.model("SDXL")
    prompts = batch_of("a (red:1.5) star BREAK [tree]")
    plain = PromptBatch(prompts.ids, prompts.slots)
    assert prompts.weights is not None
    weighed, literal = (model.encode_prompts(batch, empty_vector_tables(model)) for batch in (prompts, plain))
    assert weighed.pooled is not None
    assert literal.pooled is not None
    assert torch.equal(weighed.pooled, literal.pooled)
    parts: list[torch.Tensor] = []
    for encoder in model.text_encoders:
        hidden = encoder.encode(plain, empty_vector_tables(model)[encoder.key])[0].reshape(2, 77, -1)
        chunks = [states * weights[:, None] for states, weights in zip(hidden, prompts.weights[0], strict=True)]
        parts.append(torch.cat([one * (states.mean() / one.mean()) for one, states in zip(chunks, hidden, strict=True)]))
    assert torch.allclose(weighed.context[0], torch.cat(parts, -1), rtol=1e-4, atol=1e-5)


def learned(vectors: dict[str, torch.Tensor]) -> torch.Tensor:
    gradient = vectors["clip_l"].grad
    assert gradient is not None
    return gradient


def test_a_gradient_flows_through_the_weight(tiny_model: DiffusionModel) -> None:
    def gradient(weight: float) -> torch.Tensor:
        vectors = {"clip_l": tiny_model.token_embeddings("red star")["clip_l"].requires_grad_()}
        batch = caption_of(f"a (my-cat:{weight}) tree")
        context = tiny_model.encode_prompts(batch, vectors).context
        context[0, 2].square().sum().backward()
        return learned(vectors)

    def by_hand(weight: float) -> torch.Tensor:
        vectors = {"clip_l": tiny_model.token_embeddings("red star")["clip_l"].requires_grad_()}
        plain = tiny_model.encode_prompts(caption_of("a my-cat tree"), vectors).context[0]
        weights = torch.ones(77)
        weights[2:4] = weight
        weighed = plain * weights[:, None]
        (weighed * (plain.mean() / weighed.mean()))[2].square().sum().backward()
        return learned(vectors)

    assert torch.allclose(gradient(1.5), by_hand(1.5), rtol=1e-3, atol=1e-6)
    assert not torch.allclose(gradient(1.5), gradient(1.0), rtol=1e-2)


def test_states_of_mean_0_that_do_not_weigh_stay_finite() -> None:
    hidden = torch.stack([torch.zeros(77, 4), torch.ones(77, 4)]).requires_grad_()
    weights = torch.ones(2, 77)
    weights[1, 3] = 2.0
    result = apply_emphasis(hidden, weights)
    result.sum().backward()
    assert torch.isfinite(result).all()
    assert torch.isfinite(hidden.grad).all()
    assert torch.equal(result[0], hidden[0])
