"""Hold what all benchmarks are given: where the corpus is, where to work, how much of everything."""

from __future__ import annotations

import dataclasses
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Settings:
    """Say on what and how much to measure. The defaults suit `make bench`: all in about 25 minutes on two slow cores.

    Attributes:
        corpus: the folder `benchmarks.make_corpus` wrote.
        work: a folder for stores and exported models; parts of it are emptied and written anew.
        rounds: interleaved rounds of a comparison.
        encode_documents: documents a round of `encode`.
        tune_documents: documents on which rivals' best settings are looked for.
        head_documents: documents a round of `heads`.
        overhead_documents: documents a round of `overhead`.
        label_documents: sizes of the two stores of `label`.
        kernel_rows: codes a round of `label`'s kernels.
        read_rows: rows of the shards of `read`.
        kills: how often `kills` kills.
        kill_documents: documents of the corpus of `kills`.
        most_heads: heads, and separate models, `heads` goes up to.
    """

    corpus: Path
    work: Path
    rounds: int = 3
    encode_documents: int = 768
    tune_documents: int = 192
    head_documents: int = 320
    overhead_documents: int = 2048
    label_documents: tuple[int, int] = (1_000_000, 5_000_000)
    kernel_rows: int = 32768
    read_rows: int = 400_000
    kills: int = 10
    kill_documents: int = 800
    most_heads: int = 16

    def quick(self) -> Settings:
        """Return the same with everything so small that its figures mean nothing: to see that it runs."""
        return dataclasses.replace(
            self,
            rounds=2,
            encode_documents=48,
            tune_documents=16,
            head_documents=32,
            overhead_documents=128,
            label_documents=(10_000, 20_000),
            kernel_rows=2048,
            read_rows=5_000,
            kills=2,
            kill_documents=100,
            most_heads=4,
        )
