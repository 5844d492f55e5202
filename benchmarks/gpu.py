"""Measure encoding on a GPU, with models of random weights and texts of random words.

Needs only torch, transformers and NumPy.

    python -m benchmarks.gpu                                    # all cases, in some minutes
    python -m benchmarks.gpu --cases minilm-32 --rounds 7 --output gpu.jsonl
    python -m benchmarks.gpu --device cpu --quick               # tiny sizes, to check that it runs

The same rounds also time plain matrix products of the model's shapes (the upper limit), tokenising alone, and
sentence-transformers in float16 at its best batch size. Where it is not installed, a loop of transformers replaces it.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import transformers

import encoder
from benchmarks import machine, random_model
from benchmarks.harness import Contender, Report, Table, in_thread, interleave, reason
from benchmarks.random_model import SHAPES, Shape
from benchmarks.rivals_gpu import BATCH_SIZES, best_rival
from benchmarks.roofline import model_flops, plain_products, product_flops
from encoder import Pooling, bits
from encoder.bundle import Bundle
from encoder.encode import CHUNK_BATCHES
from encoder.forward.padded import PaddedRunner
from encoder.prefetch import prefetch, split_into_chunks
from encoder.tokenize import Tokenizer

OURS = "encode-once"
RIVAL = "float16 rival"
TOKENISING = "tokenising alone"
PRODUCTS = "plain matrix products"
MAX_TOKENS = 512
MAX_DIFFERING_SHARE = (
    0.03  # of the bits: rounding to bfloat16 flips 0.006 with MiniLM's shape, a wrong attention kernel 0.14
)


@dataclasses.dataclass(frozen=True)
class Case:
    """A case to measure: the model's shape, documents per round, tokens per document (None: distributed as in the corpus)."""

    shape: str
    documents: int
    tokens: int | None = None


CASES = {
    "minilm-32": Case("minilm-l6", 65536, tokens=32),
    "minilm-corpus": Case("minilm-l6", 65536),
    "roberta-large-corpus": Case("roberta-large", 16384),
}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch_tokens", type=int, help="tokens per batch; default: that of the encoder")
    parser.add_argument(
        "--lengths",
        type=Path,
        default=random_model.CORPUS_LENGTHS,
        help="JSON file of text lengths",
    )
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes, to check that it runs; their figures mean nothing"
    )
    parser.add_argument("--output", type=Path, help="file to which the JSON lines are appended")
    options = parser.parse_args(argv)
    transformers.utils.logging.disable_progress_bar()
    text, about = machine.header()
    print(text, end="\n\n", flush=True)
    failed = 0
    for name in options.cases:
        try:
            with tempfile.TemporaryDirectory() as folder:
                report = run(name, options, Path(folder))
        except Exception as error:  # the other cases still run
            print(f"{name} failed: {reason(error)}", file=sys.stderr)
            failed = 1
            continue
        report.figures["machine"] = about
        line = report.print()
        if options.output is not None:
            with options.output.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        differing = report.figures["bits_differing_from_float32"]
        if differing > MAX_DIFFERING_SHARE:
            limit = f"rounding explains at most {MAX_DIFFERING_SHARE:.0%}"
            print(
                f"{name} failed: {differing:.2%} of the bits differ from float32, {limit}: a kernel is wrong",
                file=sys.stderr,
            )
            failed = 1
    return failed


def run(name: str, options: argparse.Namespace, folder: Path) -> Report:
    """Measure one case; the model is written into `folder`."""
    case, shape = CASES[name], SHAPES[CASES[name].shape]
    documents, rounds, repeats = case.documents, options.rounds, 100
    if options.quick:
        shape, documents, rounds, repeats = shape.tiny(), 96, 2, 2
    texts = _write_model(shape, case, documents, options, folder)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()  # the previous case set them
    ours = in_thread(lambda: encoder.load(_bundle(folder, shape), options.device, batch_tokens=options.batch_tokens))
    codes = in_thread(lambda: ours.encode(texts))
    peak_mb = torch.cuda.max_memory_allocated(ours.device) >> 20 if ours.device.type == "cuda" else None

    tokenizer = Tokenizer(folder, MAX_TOKENS, "", "truncate", 0)
    chunks = split_into_chunks(texts, CHUNK_BATCHES * ours.batch_tokens, MAX_TOKENS)
    products = in_thread(lambda: plain_products(ours.batch_tokens, shape.width, shape.inner, ours.dtype, ours.device))
    tune, batch_sizes = texts[: max(64, documents // 16)], (8, 16) if options.quick else BATCH_SIZES
    encode, note = best_rival(folder, ours.device, MAX_TOKENS, tune, batch_sizes)
    timing = interleave(
        [
            Contender(OURS, lambda: ours.encode(texts), lambda: ours.encode(tune), _note(ours)),
            Contender(RIVAL, lambda: encode(texts), lambda: encode(tune), note),
            Contender(
                TOKENISING, lambda: [None for _ in prefetch(lambda chunk: tokenizer([texts[i] for i in chunk]), chunks)]
            ),
            Contender(
                PRODUCTS, lambda: _repeat(products, repeats, ours.device), lambda: _repeat(products, 3, ours.device)
            ),
        ],
        rounds,
        own_threads=ours.device.type == "cuda",
    )
    for name_ in (OURS, PRODUCTS):
        if name_ in timing.absent:
            raise RuntimeError(f"{name_} failed: {timing.absent[name_]}")
    product_seconds = timing.seconds.pop(PRODUCTS)
    model_operations = model_flops(codes.n_tokens, shape.layers, shape.width, shape.inner)
    product_operations = repeats * ours.batch_tokens * product_flops(shape.width, shape.inner)
    seconds = timing.seconds[OURS]
    roofline = {
        "share_of_plain_products": round(
            statistics.median(model_operations / s * p / product_operations for s, p in zip(seconds, product_seconds)),
            4,
        ),
        "plain_products_tflops": round(product_operations / statistics.median(product_seconds) / 1e12, 2),
        "encoder_tflops": round(model_operations / statistics.median(seconds) / 1e12, 2),
        "tokens_per_second": round(int(codes.n_tokens.sum()) / statistics.median(seconds)),
        "tokens_per_document": round(float(codes.n_tokens.mean()), 2),
        "padding_share": round(1 - int(codes.n_tokens.sum()) / codes.padded_tokens, 4),
        "bits_differing_from_float32": _differing(texts[:256], codes.bits[:256], ours),
        "peak_device_mb": peak_mb,
    }
    title = f"{name}: encode {documents} documents ({int(codes.n_tokens.sum())} tokens), {rounds} interleaved rounds"
    tables = [
        timing.table(title, OURS, documents),
        Table.of("Compared with plain matrix products of the model's shapes", roofline),
    ]
    figures = {"case": name, "quick": options.quick, "shape": dataclasses.asdict(shape), "documents": documents}
    return Report(
        "gpu", tables, figures | roofline | {"contenders": timing.figures(OURS, documents), "settings": timing.notes}
    )


def _write_model(shape: Shape, case: Case, documents: int, options: argparse.Namespace, folder: Path) -> list[str]:
    """Write the model into `folder` and return texts for it."""
    rng = np.random.default_rng(0)
    words = random_model.make_words(500 if options.quick else random_model.WORDS, rng)
    tokenizer = random_model.train_tokenizer(shape, words, rng)
    if case.tokens is None:
        token_counts = random_model.draw_lengths(documents, options.lengths, seed=1)
    else:
        token_counts = np.full(documents, case.tokens)
    texts = random_model.make_texts(tokenizer, words, token_counts, seed=2)
    random_model.save(shape, tokenizer, folder, MAX_TOKENS)
    return texts


def _bundle(folder: Path, shape: Shape) -> Bundle:
    """Return a bundle of the features that the rivals compute: the mean of the last layer; its thresholds are zero."""
    return Bundle(
        name="random",
        base_id=str(folder),
        base_files=encoder.base.find(str(folder)).file_hashes(),
        pooling=Pooling((shape.layers,)),
        bits=shape.width,
        thresholds=np.zeros(shape.width, np.float32),
        max_tokens=MAX_TOKENS,
    )


def _repeat(products: Callable[[], None], times: int, device: torch.device) -> None:
    for _ in range(times):
        products()
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _differing(texts: list[str], codes: np.ndarray, ours: encoder.Encoder) -> float:
    """Return the share of bits that differ from float32 on the same device. On a GPU float32 runs in padded batches."""
    exact = in_thread(lambda: encoder.load(ours.bundle, str(ours.device), "float32").encode(texts).bits)
    return round(bits.hamming_distance(codes, exact), 5)


def _note(ours: encoder.Encoder) -> str:
    layout = "padded" if isinstance(ours.runner, PaddedRunner) else "unpadded"
    return f"{str(ours.dtype).removeprefix('torch.')}, {layout}, {ours.batch_tokens} tokens per batch"


if __name__ == "__main__":
    sys.exit(main())
