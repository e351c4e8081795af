"""A text encoder's vocabulary as directions: which tokens a vector is nearest to, without a second table in memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from train_embedding.engine.prompts.tokenizer import START_OF_TEXT

ROWS = 4096
"Rows of the vocabulary that are worked on at once: 20 MB in fp32 for SDXL's wider encoder."


@dataclass(frozen=True)
class VocabularyNorms:
    """The norms of a vocabulary's vectors, fp32 [V] on the CPU; the marks of start and end, which are no words, left out."""

    norms: torch.Tensor

    @property
    def mean(self) -> float:
        return float(self.norms.mean())

    @property
    def spread(self) -> float:
        """Their standard deviation."""
        return float(self.norms.std(correction=0))


@dataclass(frozen=True)
class Nearest:
    """Per vector the tokens, the nearest first, and their cosines. A vector of zeros has no direction: its cosines are 0."""

    ids: list[list[int]]
    cosines: list[list[float]]


@torch.no_grad()
def vocabulary_norms(table: torch.Tensor) -> VocabularyNorms:
    """Measured once per checkpoint. table: a token embedding's weight, [V, d], of any type, on any device."""
    return VocabularyNorms(torch.cat([rows.float().norm(dim=1).cpu() for rows in _words(table).split(ROWS)]))


@torch.no_grad()
def nearest(table: torch.Tensor, lengths: VocabularyNorms, vectors: torch.Tensor, count: int) -> Nearest:
    """The `count` tokens with the highest cosine to each of the vectors [n, d]; fewer where the vocabulary has no more.

    The table is neither copied nor normalised: a product with unit vectors, divided by the rows' lengths, is the cosine, and
    of each block of rows only the best are kept.
    """
    directions = torch.nn.functional.normalize(vectors.to(table.device, torch.float32))
    best_ids, best_cosines = torch.zeros(len(vectors), 0, dtype=torch.long), torch.zeros(len(vectors), 0)  # [n, k]
    first = 0
    for rows in _words(table).split(ROWS):
        products = (directions @ rows.float().T).cpu()  # [n, ROWS]
        cosines = products / lengths.norms[first : first + len(rows)].clamp(min=1e-12)
        ids = torch.arange(first, first + len(rows)).expand_as(cosines)
        cosines, ids = torch.cat([best_cosines, cosines], 1), torch.cat([best_ids, ids], 1)
        chosen = cosines.topk(min(count, cosines.shape[1]))
        best_ids, best_cosines = ids.gather(1, chosen.indices), chosen.values
        first += len(rows)
    return Nearest(best_ids.tolist(), best_cosines.tolist())


def _words(table: torch.Tensor) -> torch.Tensor:
    return table.detach()[:START_OF_TEXT]
