"""Scores several heads over the same codes in one pass.

Looking a code's bytes up once in a table of all heads' classes takes half the time of once a head.
Sums are exact (see score.py), so the logits are the same bytes as those of each head alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from heads import score
from heads.errors import HeadError
from heads.head import Head


class HeadBank:
    """Several heads of one encoder, in the order given."""

    def __init__(self, heads: Sequence[Head]) -> None:
        if len(encoders := sorted({head.encoder_fingerprint for head in heads})) > 1:
            raise HeadError(
                f"heads of different encoders ({', '.join(e[:8] for e in encoders)}) cannot be scored together; "
                "fit them again on one encoder"
            )
        self.heads = tuple(heads)
        self._groups = [_Group(group) for group in _group(self.heads)]

    def logits(self, bits: np.ndarray) -> list[np.ndarray]:
        """Computes each head's `Head.logits`: bits (n, bits // 8) uint8 gives (n, classes) float32 a head."""
        return [logits for group in self._groups for logits in group.logits(bits)]


class _Group:
    """Heads whose classes share one table."""

    def __init__(self, heads: list[Head]) -> None:
        self.heads = heads
        self.weights = np.concatenate([head.weights for head in heads])

    @cached_property
    def _table(self) -> np.ndarray:
        return score.byte_table(self.weights)

    def logits(self, bits: np.ndarray) -> list[np.ndarray]:
        self.heads[0].check_codes(bits)
        sums = score.sums(bits, self.weights, lambda: self._table)
        ends = np.cumsum([len(head.weights) for head in self.heads])
        return [head.logits_of(part) for head, part in zip(self.heads, np.split(sums, ends[:-1], axis=1))]


def _group(heads: Sequence[Head]) -> list[list[Head]]:
    """Cuts heads, in their order, into runs whose classes fit one table together."""
    groups: list[list[Head]] = []
    for head in heads:
        classes = sum(len(other.weights) for other in groups[-1]) if groups else 0
        if groups and score.table_fits(classes + len(head.weights), head.bits):
            groups[-1].append(head)
        else:
            groups.append([head])
    return groups
