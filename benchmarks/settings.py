"""Declare the settings of all benchmarks: the folders of the corpus and of the output, and the sizes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from encoder.declare import check, option


@dataclasses.dataclass(frozen=True)
class Settings:
    """Paths and sizes of the benchmarks. With the defaults `make bench` takes about 25 minutes on two slow cores."""

    corpus: Path = option(kind="path", metavar="DIR", help="folder that benchmarks.make_corpus wrote")
    work: Path = option(
        kind="path", metavar="DIR", help="folder for stores and exported models; parts of it are emptied and rewritten"
    )
    rounds: int = option(3, minimum=1, metavar="N", help="number of interleaved rounds of a comparison")
    encode_documents: int = option(768, minimum=1, metavar="N", help="number of documents per round of encode")
    tune_documents: int = option(
        192, minimum=1, metavar="N", help="number of documents to search the best settings of the rivals"
    )
    head_documents: int = option(320, minimum=1, metavar="N", help="number of documents per round of heads")
    overhead_documents: int = option(8192, minimum=1, metavar="N", help="number of documents per round of overhead")
    label_documents: tuple[int, int] = option(
        (1_000_000, 5_000_000), minimum=1, metavar="N", help="sizes of the two stores of label"
    )
    kernel_rows: int = option(32768, minimum=1, metavar="N", help="number of codes per round of the kernels of label")
    read_rows: int = option(400_000, minimum=1, metavar="N", help="number of rows of the shards of read")
    kills: int = option(10, minimum=1, metavar="N", help="number of kills of kills")
    kill_documents: int = option(6000, minimum=1, metavar="N", help="number of documents of the corpus of kills")
    max_heads: int = option(
        16, minimum=1, metavar="N", help="maximum number of heads, and of separate models, of heads"
    )

    def __post_init__(self) -> None:
        check(self)

    def quick(self) -> Settings:
        """Return tiny sizes, to check that everything runs; the figures mean nothing."""
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
            max_heads=4,
        )
