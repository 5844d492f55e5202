"""Score several heads over the same codes in one pass.

Unpacking a code once for all heads saves most of the time of small heads. Sums are exact (see score.py), so the logits
are the same bytes as those of each head alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from heads.errors import HeadError
from heads.head import Head
from heads.score import ExactWeights


class HeadBank:
    """Several heads of one encoder, in the order given.

    Raises:
        HeadError: the heads were fitted on different encoders.
    """

    def __init__(self, heads: Sequence[Head]) -> None:
        if len(encoders := sorted({head.encoder_fingerprint for head in heads})) > 1:
            raise HeadError(
                f"heads of different encoders ({', '.join(e[:8] for e in encoders)}) cannot be scored together; "
                "fit them again on one encoder"
            )
        self.heads = tuple(heads)
        self._weights = ExactWeights(np.concatenate([head.weights for head in heads])) if heads else None

    def logits(self, bits: np.ndarray) -> list[np.ndarray]:
        """Compute the `Head.logits` of each head: bits (n, bits // 8) uint8 gives (n, classes) float32 a head."""
        if self._weights is None:
            return []
        self.heads[0].check_codes(bits)
        ends = np.cumsum([len(head.weights) for head in self.heads])
        parts = np.split(self._weights.sums(bits), ends[:-1])
        return [head.logits_of(sums) for head, sums in zip(self.heads, parts)]
