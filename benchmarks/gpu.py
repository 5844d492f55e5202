"""Measure encoding on a GPU, with torch, transformers and NumPy alone: models of random weights, texts of random words.

    python -m benchmarks.gpu                                    # all cases, in some minutes
    python -m benchmarks.gpu --cases minilm-32 --rounds 7 --output gpu.jsonl
    python -m benchmarks.gpu --device cpu --quick               # tiny: to see that it runs

Beside the encoder, in the same rounds: plain matrix products of the model's shapes (the roof), tokenising alone, and
sentence-transformers in float16 at its best batch size, or where it is not installed a loop that does what it does.
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
MOST_TOKENS = 512
MOST_DIFFERING = 0.03  # share of bits; rounding to bfloat16 flips 0.006 of MiniLM's shape, a wrong attention 0.14


@dataclasses.dataclass(frozen=True)
class Case:
    """Say what is measured: a model's shape, documents a round, tokens of each or None for the corpus's spread."""

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
    parser.add_argument("--batch_tokens", type=int, help="tokens of a batch; default: the encoder's own")
    parser.add_argument("--lengths", type=Path, default=random_model.CORPUS_LENGTHS, help="JSON: texts by their tokens")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, whose figures mean nothing")
    parser.add_argument("--output", type=Path, help="file that the JSON lines are added to")
    options = parser.parse_args(argv)
    transformers.utils.logging.disable_progress_bar()
    text, about = machine.header()
    print(text, end="\n\n", flush=True)
    failed = 0
    for name in options.cases:
        try:
            with tempfile.TemporaryDirectory() as folder:
                report = run(name, options, Path(folder))
        except Exception as error:  # the other cases are measured
            print(f"{name} failed: {reason(error)}", file=sys.stderr)
            failed = 1
            continue
        report.figures["machine"] = about
        line = report.print()
        if options.output is not None:
            with options.output.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        if report.figures["bits_differing_from_float32"] > MOST_DIFFERING:
            print(f"{name}: more bits differ from float32 than rounding explains: a kernel is wrong", file=sys.stderr)
            failed = 1
    return failed


def run(name: str, options: argparse.Namespace, folder: Path) -> Report:
    """Measure one case; `folder` takes the model."""
    case, shape = CASES[name], SHAPES[CASES[name].shape]
    documents, rounds, repeats = case.documents, options.rounds, 100
    if options.quick:
        shape, documents, rounds, repeats = shape.tiny(), 96, 2, 2
    texts = _make(shape, case, documents, options, folder)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()  # of the case before
    ours = in_thread(lambda: encoder.load(_bundle(folder, shape), options.device, batch_tokens=options.batch_tokens))
    codes = in_thread(lambda: ours.encode(texts))
    peak_mb = torch.cuda.max_memory_allocated(ours.device) >> 20 if ours.device.type == "cuda" else None

    tokenizer = Tokenizer(folder, MOST_TOKENS, "", "truncate", 0)
    chunks = split_into_chunks(texts, CHUNK_BATCHES * ours.batch_tokens, MOST_TOKENS)
    products = in_thread(lambda: plain_products(ours.batch_tokens, shape.width, shape.inner, ours.dtype, ours.device))
    tune, batch_sizes = texts[: max(64, documents // 16)], (8, 16) if options.quick else BATCH_SIZES
    encode, note = best_rival(folder, ours.device, MOST_TOKENS, tune, batch_sizes)
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
    for needed in (OURS, PRODUCTS):
        if needed in timing.absent:
            raise RuntimeError(f"{needed}: {timing.absent[needed]}")
    product_seconds = timing.seconds.pop(PRODUCTS)
    done = model_flops(codes.n_tokens, shape.layers, shape.width, shape.inner)
    plain = repeats * ours.batch_tokens * product_flops(shape.width, shape.inner)
    seconds = timing.seconds[OURS]
    roof = {
        "share_of_plain_products": round(
            statistics.median(done / s * p / plain for s, p in zip(seconds, product_seconds)), 4
        ),
        "plain_products_tflops": round(plain / statistics.median(product_seconds) / 1e12, 2),
        "encoder_tflops": round(done / statistics.median(seconds) / 1e12, 2),
        "tokens_per_second": round(int(codes.n_tokens.sum()) / statistics.median(seconds)),
        "tokens_per_document": round(float(codes.n_tokens.mean()), 2),
        "padding_share": round(1 - int(codes.n_tokens.sum()) / codes.padded_tokens, 4),
        "bits_differing_from_float32": _differing(texts[:256], codes.bits[:256], ours),
        "peak_device_mb": peak_mb,
    }
    title = f"{name}: encode {documents} documents ({int(codes.n_tokens.sum())} tokens), {rounds} interleaved rounds"
    tables = [
        timing.table(title, OURS, documents),
        Table.of("Beside plain matrix products of the model's shapes", roof),
    ]
    figures = {"case": name, "quick": options.quick, "shape": dataclasses.asdict(shape), "documents": documents}
    return Report(
        "gpu", tables, figures | roof | {"contenders": timing.figures(OURS, documents), "settings": timing.notes}
    )


def _make(shape: Shape, case: Case, documents: int, options: argparse.Namespace, folder: Path) -> list[str]:
    """Write the model into `folder`, and make the texts."""
    rng = np.random.default_rng(0)
    words = random_model.make_words(500 if options.quick else random_model.WORDS, rng)
    tokenizer = random_model.train_tokenizer(shape, words, rng)
    if case.tokens is None:
        token_counts = random_model.draw_lengths(documents, options.lengths, seed=1)
    else:
        token_counts = np.full(documents, case.tokens)
    texts = random_model.make_texts(tokenizer, words, token_counts, seed=2)
    random_model.save(shape, tokenizer, folder, MOST_TOKENS)
    return texts


def _bundle(folder: Path, shape: Shape) -> Bundle:
    """Describe what rivals compute too: the mean of the last layer, here cut at zero."""
    return Bundle(
        name="random",
        base_id=str(folder),
        base_files=encoder.base.find(str(folder)).file_hashes(),
        pooling=Pooling((shape.layers,)),
        bits=shape.width,
        thresholds=np.zeros(shape.width, np.float32),
        max_tokens=MOST_TOKENS,
    )


def _repeat(products: Callable[[], None], times: int, device: torch.device) -> None:
    for _ in range(times):
        products()
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _differing(texts: list[str], found: np.ndarray, ours: encoder.Encoder) -> float:
    """Return the share of bits that differ from those of float32 on the same device: padded there, if it is a GPU."""
    exact = in_thread(lambda: encoder.load(ours.bundle, str(ours.device), "float32").encode(texts).bits)
    return round(bits.hamming_distance(found, exact), 5)


def _note(ours: encoder.Encoder) -> str:
    layout = "padded" if isinstance(ours.runner, PaddedRunner) else "end to end"
    return f"{str(ours.dtype).removeprefix('torch.')}, {layout}, {ours.batch_tokens} tokens a batch"


if __name__ == "__main__":
    sys.exit(main())
