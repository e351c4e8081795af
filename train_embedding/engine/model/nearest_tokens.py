"""The nearest tokens of a vector by cosine similarity, computed without a second table in memory."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch's annotations are incomplete for some methods of Tensor.

from __future__ import annotations

from dataclasses import dataclass

import torch

from train_embedding.engine.prompts.tokenizer import START_OF_TEXT

ROWS = 4096
"Rows of the vocabulary per product: 20 MB in fp32 for SDXL's wider encoder."


@dataclass(frozen=True)
class VocabularyNorms:
    """The norms of a vocabulary's vectors, without start and end of text."""

    norms: torch.Tensor
    "Fp32 [V], on the CPU."

    @property
    def mean(self) -> float:
        """Their mean."""
        return float(self.norms.mean())

    @property
    def spread(self) -> float:
        """Their standard deviation."""
        return float(self.norms.std(correction=0))


@dataclass(frozen=True)
class Nearest:
    """The tokens nearest to each vector, nearest first, and their cosine similarities; 0 for a vector of zeros."""

    ids: list[list[int]]
    cosines: list[list[float]]


@torch.no_grad()
def vocabulary_norms(table: torch.Tensor) -> VocabularyNorms:
    """Compute the norms of a token embedding's weight [V, d], of any dtype, on any device; slow enough to do once only."""
    return VocabularyNorms(torch.cat([rows.float().norm(dim=1).cpu() for rows in _word_rows(table).split(ROWS)]))


@torch.no_grad()
def nearest(table: torch.Tensor, lengths: VocabularyNorms, vectors: torch.Tensor, count: int) -> Nearest:
    """Find the tokens with the highest cosine similarity to each vector.

    The table is neither copied nor normalised: products with unit vectors are divided by the rows' norms, and of each block of
    rows only the best tokens are kept.

    Args:
        table: A token embedding's weight, [V, d].
        lengths: Its norms.
        vectors: [n, d].
        count: Tokens per vector; fewer if the vocabulary has fewer.
    """
    directions = torch.nn.functional.normalize(vectors.to(table.device, torch.float32))
    best_ids, best_cosines = torch.zeros(len(vectors), 0, dtype=torch.long), torch.zeros(len(vectors), 0)  # [n, k]
    first = 0
    for rows in _word_rows(table).split(ROWS):
        products = (directions @ rows.float().T).cpu()  # [n, ROWS]
        cosines = products / lengths.norms[first : first + len(rows)].clamp(min=1e-12)
        ids = torch.arange(first, first + len(rows)).expand_as(cosines)
        cosines, ids = torch.cat([best_cosines, cosines], 1), torch.cat([best_ids, ids], 1)
        chosen = cosines.topk(min(count, cosines.shape[1]))
        best_ids, best_cosines = ids.gather(1, chosen.indices), chosen.values
        first += len(rows)
    return Nearest(best_ids.tolist(), best_cosines.tolist())


def _word_rows(table: torch.Tensor) -> torch.Tensor:
    return table.detach()[:START_OF_TEXT]
