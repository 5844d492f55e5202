"""Make what the tests share: a tiny random model, an encoder bundle and heads for it, small corpora."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import importlib
import json
import lzma
import os
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

# Under pytest-xdist each process computes in one thread, and so do the processes it starts: two processes of two threads
# on two processors take 2.5 times the processor time, as threads that wait for each other spin. Set before torch is imported.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

DATA = Path(__file__).parents[2] / "shared" / "data"
WORDS = [
    "good",
    "bad",
    "film",
    "story",
    "plot",
    "great",
    "dull",
    "actor",
    "scene",
    "laugh",
    "long",
    "short",
    "the",
    "a",
    "of",
    "and",
    "was",
    "is",
    "not",
    "very",
]


def needs_data() -> Path:
    """Return the folder of labelled tasks, or skip; in CI its absence is a failure."""
    if DATA.is_dir():
        return DATA
    if os.environ.get("CI"):
        pytest.fail(f"CI needs the labelled data in {DATA}")
    pytest.skip(f"the labelled data is not in {DATA}")


@pytest.fixture
def largest_file():
    """Give a context in which the kernel lets no file of this process grow beyond so many bytes, as a full disk does."""
    resource = pytest.importorskip("resource")

    @contextlib.contextmanager
    def limit(size: int):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limit


def optional(module: str):
    """Import a test extra, or skip; in CI its absence is a failure."""
    if os.environ.get("CI"):
        return importlib.import_module(module)
    return pytest.importorskip(module)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    return needs_data()


def make_tiny_base(folder: Path, layers: int = 3, width: int = 32, seed: int = 0) -> Path:
    """Write a random BERT of `layers` layers and its tokenizer, as a Hugging Face folder."""
    import tokenizers
    import torch
    from tokenizers import models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel

    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,!?'-"
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, *letters, *("##" + letter for letter in letters)]
    ids = {token: i for i, token in enumerate(dict.fromkeys(vocabulary))}
    tokenizer = tokenizers.Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])]
    )
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(ids),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=2 * width,
        max_position_embeddings=64,
        initializer_range=0.5,
    )
    BertModel(config).eval().save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def random_texts(count: int, seed: int = 0, longest: int = 30) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(1, longest))) for _ in range(count)]


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory) -> Path:
    return make_tiny_base(tmp_path_factory.mktemp("tiny-base"))


@pytest.fixture(scope="session")
def tiny_bundle(tiny_base, tmp_path_factory) -> Path:
    """Give the folder of a bundle of 64 bits: layers 2 and 3 of the tiny model, mean pooled, not rotated."""
    from encoder.make import make_bundle
    from encoder.settings import BundleSettings

    settings = BundleSettings("tiny", str(tiny_base), layers=(2, 3), max_tokens=32, rotation="none")
    folder = tmp_path_factory.mktemp("tiny-bundle")
    return make_bundle(settings, random_texts(80, seed=1)).save(folder)


def make_tiny_head(bundle: Path, task: str, kind: str = "single", seed: int = 0):
    """Make a random head for the tiny bundle."""
    import encoder
    from heads import Head

    rng = np.random.default_rng(seed)
    described = encoder.describe(str(bundle))
    classes = {"single": 3, "multi": 4, "regression": 1}[kind]
    return Head(
        task=task,
        kind=kind,
        labels=tuple(f"{task}_{i}" for i in range(classes)) if kind != "regression" else (),
        weights=rng.integers(-1000, 1000, (classes, described.bits)).astype(np.int16),
        scale=np.full(classes, 1e-3, np.float32),
        bias=np.zeros(classes, np.float32),
        encoder_fingerprint=described.fingerprint,
        thresholds=np.full(classes, 0.5, np.float32) if kind == "multi" else np.empty(0, np.float32),
    )


@pytest.fixture(scope="session")
def tiny_heads(tiny_bundle, tmp_path_factory) -> dict[str, Path]:
    """Give folders of three heads for the tiny bundle, by task: one of each kind."""
    folders = {}
    for seed, (task, kind) in enumerate({"mood": "single", "themes": "multi", "stars": "regression"}.items()):
        folders[task] = tmp_path_factory.mktemp("heads") / task
        make_tiny_head(tiny_bundle, task, kind, seed).save(folders[task])
    return folders


def write_corpus(folder: Path, rows: int = 40, seed: int = 0) -> dict[str, list[str]]:
    """Write one shard of every format with `rows` good rows each; returns the texts by file name."""
    folder.mkdir(parents=True, exist_ok=True)
    names = ["a.txt", "b.jsonl", "c.csv", "d.parquet", "e.jsonl.gz", "f.txt.bz2", "g.tsv", "h.jsonl.xz"]
    texts = {name: random_texts(rows, seed * 100 + i) for i, name in enumerate(names)}
    for name, content in texts.items():
        ids = [f"{name[0]}{i}" for i in range(rows)]
        path = folder / name
        if name.endswith(".parquet"):
            pq.write_table(pa.table({"id": ids, "text": content}), path, row_group_size=max(1, rows // 3))
            continue
        if ".jsonl" in name:
            lines = [json.dumps({"id": i, "text": t}) for i, t in zip(ids, content)]
        elif ".csv" in name or ".tsv" in name:
            separator = "\t" if ".tsv" in name else ","
            lines = [f"id{separator}text", *(f"{i}{separator}{t}" for i, t in zip(ids, content))]
        else:
            lines = content
        raw = ("\n".join(lines) + "\n").encode()
        compress = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}.get(path.suffix, bytes)
        path.write_bytes(compress(raw))
    return texts


@pytest.fixture(scope="session")
def tiny_corpus(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder)
    return folder


def store_files(store: Path, *folders: str) -> dict[str, bytes]:
    """Return the content of all files below some folders of a store, by their path in it."""
    return {
        str(path.relative_to(store)): path.read_bytes()
        for folder in folders or ("codes", "labels", "rejects")
        for path in sorted((store / folder).rglob("*"))
        if path.is_file()
    }
