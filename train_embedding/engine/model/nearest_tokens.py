"""The tokens nearest to a vector by cosine similarity, computed without a copy of the vocabulary."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch's annotations are incomplete for some methods of Tensor.

from __future__ import annotations

from dataclasses import dataclass

import torch

from train_embedding.engine.prompts.tokenizer import START_OF_TEXT

ROWS = 4096
"Rows of the vocabulary per matrix product: 20 MB in fp32 for the larger encoder of SDXL."


@dataclass(frozen=True)
class VocabularyNorms:
    """Norms of the vectors of a vocabulary, without start and end of text.

    Attributes:
        norms: Fp32 [V], on the CPU.
    """

    norms: torch.Tensor

    @property
    def mean(self) -> float:
        """Mean of the norms."""
        return float(self.norms.mean())

    @property
    def spread(self) -> float:
        """Standard deviation of the norms."""
        return float(self.norms.std(correction=0))


@dataclass(frozen=True)
class Nearest:
    """The tokens nearest to each vector, nearest first.

    Attributes:
        ids: Token ids for each vector.
        cosines: Their cosine similarities; 0 for a vector of zeros.
    """

    ids: list[list[int]]
    cosines: list[list[float]]


@torch.no_grad()
def vocabulary_norms(table: torch.Tensor) -> VocabularyNorms:
    """Compute the norms of the weight of a token embedding, [V, d]. This is slow: keep the result."""
    return VocabularyNorms(torch.cat([rows.float().norm(dim=1).cpu() for rows in _word_rows(table).split(ROWS)]))


@torch.no_grad()
def nearest(table: torch.Tensor, norms: VocabularyNorms, vectors: torch.Tensor, count: int) -> Nearest:
    """Find the tokens with the highest cosine similarity to each vector.

    The table is neither copied nor normalised: products with unit vectors are divided by the norms of the rows, and only the best
    tokens of each block of rows are kept.

    Args:
        table: Weight of a token embedding, [V, d].
        norms: Norms of the table.
        vectors: Vectors, [n, d].
        count: Number of tokens per vector, at most the size of the vocabulary.
    """
    directions = torch.nn.functional.normalize(vectors.to(table.device, torch.float32))
    best_ids, best_cosines = torch.zeros(len(vectors), 0, dtype=torch.long), torch.zeros(len(vectors), 0)  # [n, k]
    first = 0
    for rows in _word_rows(table).split(ROWS):
        products = (directions @ rows.float().T).cpu()  # [n, ROWS]
        cosines = products / norms.norms[first : first + len(rows)].clamp(min=1e-12)
        ids = torch.arange(first, first + len(rows)).expand_as(cosines)
        cosines, ids = torch.cat([best_cosines, cosines], 1), torch.cat([best_ids, ids], 1)
        chosen = cosines.topk(min(count, cosines.shape[1]))
        best_ids, best_cosines = ids.gather(1, chosen.indices), chosen.values
        first += len(rows)
    return Nearest(best_ids.tolist(), best_cosines.tolist())


def _word_rows(table: torch.Tensor) -> torch.Tensor:
    return table.detach()[:START_OF_TEXT]
