"""Compare encoding with other libraries and with plain matrix products; measure how precisions change the labels."""

from __future__ import annotations

import dataclasses
import functools
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import encoder
from benchmarks import corpus
from benchmarks.agreement import agreement
from benchmarks.harness import Contender, Report, Table, in_thread, interleave, reason, show_progress
from benchmarks.rivals import Rival, Task, pipeline_best, pipeline_defaults
from benchmarks.rivals import sentence_transformers_best as st_best
from benchmarks.rivals import sentence_transformers_defaults as st_defaults
from benchmarks.rivals_beam import ml_transform_best, ml_transform_defaults, run_inference_best, run_inference_defaults
from benchmarks.rivals_onnx import onnx_float32, onnx_int8, tokenizer
from benchmarks.roofline import model_flops, plain_products, product_flops
from benchmarks.settings import Settings
from encoder import Pooling
from encoder.bundle import hidden_size

OURS = "encode-once"
LAST_LAYER = "encode-once, last layer as floats"
PRODUCTS = "plain matrix products"
PRODUCT_REPEATS = 40
RIVALS: dict[str, Callable[[Task], Rival]] = {
    "sentence-transformers, defaults": st_defaults,
    "sentence-transformers, best": st_best,
    "transformers pipeline, defaults": pipeline_defaults,
    "transformers pipeline, best": pipeline_best,
    "Beam MLTransform, defaults": ml_transform_defaults,
    "Beam MLTransform, best": ml_transform_best,
    "Beam RunInference, defaults": run_inference_defaults,
    "Beam RunInference, best": run_inference_best,
    "ONNX Runtime, float32": onnx_float32,
    "ONNX Runtime, dynamic int8": onnx_int8,
}


def run(settings: Settings) -> Report:
    drawn = corpus.sample(settings.corpus, settings.encode_documents + settings.tune_documents)
    texts, tune = drawn[: settings.encode_documents], drawn[settings.encode_documents :]
    # The main thread must not compute: see in_thread.
    ours = in_thread(lambda: encoder.load("default", "cpu"))
    last_layer = in_thread(lambda: encoder.load(_last_layer(ours.bundle), "cpu"))
    base = ours.bundle.find_base().folder
    task = Task(str(base), ours.bundle.max_tokens, tune, settings.work, {})
    task.token_counts.update((text, len(ids)) for text, ids in zip(drawn, tokenizer(task)(drawn)))

    rivals, absent = _build(task)
    reference = in_thread(lambda: last_layer.features(tune))
    vectors = {rival.name: in_thread(functools.partial(rival.encode, tune)) for rival in rivals}
    cosines = {name: mean_cosine(np.asarray(encoded), reference) for name, encoded in vectors.items()}

    codes = in_thread(lambda: ours.encode(texts))
    dtype = ours.dtype if ours.dtype.is_floating_point else last_layer.dtype
    shapes = Shapes.of(base, max(ours.bundle.pooling.layers), ours.batch_tokens)
    products = in_thread(lambda: plain_products(shapes.batch_tokens, shapes.width, shapes.inner, dtype))
    contenders = [
        Contender(OURS, lambda: ours.encode(texts), lambda: ours.encode(texts[:64]), _note(ours)),
        Contender(LAST_LAYER, lambda: last_layer.features(texts), None, "the vectors that the rivals compute"),
        Contender(PRODUCTS, lambda: [products() for _ in range(PRODUCT_REPEATS)], products),
        *(rival.contender(texts) for rival in rivals),
    ]
    timing = interleave(contenders, settings.rounds)
    timing.absent |= absent
    product_seconds = timing.seconds.pop(PRODUCTS)

    counts = [task.token_counts[text] for text in texts]
    roofline = beside_products(shapes, counts, timing.seconds[OURS], product_seconds) | {
        "dtype": str(dtype).removeprefix("torch."),
        "padding_share": round(1 - int(codes.n_tokens.sum()) / codes.padded_tokens, 4),
    }
    precision_table, precision_figures = agreement(texts)
    title = f"Encode {len(texts)} documents ({sum(counts)} tokens), {settings.rounds} interleaved rounds"
    tables = [
        timing.table(title, OURS, len(texts)),
        timing.table("The same with equal work: the last layer alone", LAST_LAYER, len(texts)),
        _cosine_table(cosines),
        Table.of("Compared with plain matrix products of the model's shapes", roofline),
        precision_table,
    ]
    return Report(
        "encode",
        tables,
        {
            "documents": len(texts),
            "tokens": sum(counts),
            "ours": [OURS, LAST_LAYER],
            "contenders": timing.figures(OURS, len(texts)),
            "equal_work": timing.figures(LAST_LAYER, len(texts)),
            "cosine_to_float32": cosines,
            "settings": timing.notes,
            "roofline": roofline,
            "precisions": precision_figures,
        },
    )


@dataclasses.dataclass(frozen=True)
class Shapes:
    """What determines the size of a model's matrix products: number of layers, their widths, tokens per batch."""

    layers: int
    width: int
    inner: int
    batch_tokens: int

    @classmethod
    def of(cls, base: Path, layers: int, batch_tokens: int) -> Shapes:
        """Read the widths from the `config.json` of a base model's folder."""
        config = json.loads((base / "config.json").read_text(encoding="utf-8"))
        return cls(layers, config["hidden_size"], config["intermediate_size"], batch_tokens)


def beside_products(
    shapes: Shapes, token_counts: list[int], seconds: list[float], product_seconds: list[float]
) -> dict[str, float]:
    """Compare the rates of the encoder and of plain products, round by round. Operations on padding do not count."""
    model_operations = model_flops(token_counts, shapes.layers, shapes.width, shapes.inner)
    product_operations = PRODUCT_REPEATS * shapes.batch_tokens * product_flops(shapes.width, shapes.inner)
    product_rates = [product_operations / seconds_ for seconds_ in product_seconds]
    shares = [model_operations / s / rate for s, rate in zip(seconds, product_rates)]
    return {
        "share_of_plain_products": round(statistics.median(shares), 4),
        "plain_products_gflops": round(statistics.median(product_rates) / 1e9, 1),
        "encoder_gflops": round(model_operations / statistics.median(seconds) / 1e9, 1),
        "flops_per_document": round(model_operations / len(token_counts)),
        "flops_per_token": round(model_operations / sum(token_counts)),
    }


def mean_cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Return the mean cosine of two arrays of vectors (n, width), row by row."""
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return round(float(((a * b).sum(1) / lengths).mean()), 5)


def _build(task: Task) -> tuple[list[Rival], dict[str, str]]:
    """Build the rivals; return those that work, and for the others the reason by name."""
    rivals, absent = [], {}
    for name, build in RIVALS.items():
        show_progress(f"preparing {name}")
        try:
            rival = in_thread(functools.partial(build, task))
            in_thread(functools.partial(rival.encode, task.tune[:2]))
        except Exception as error:  # not installed, not exportable, an incompatible version
            absent[name] = reason(error)
        else:
            rivals.append(rival)
    return rivals, absent


def _last_layer(bundle: encoder.Bundle) -> encoder.Bundle:
    """Return a bundle of the unchanged base model whose features are the rivals': the mean of the last layer."""
    width = hidden_size(bundle.find_base().config())
    return dataclasses.replace(
        bundle,
        name="last-layer",
        pooling=Pooling((max(bundle.pooling.layers),)),
        bits=width,
        thresholds=np.zeros(width, np.float32),
        projection=None,  # that of the whole bundle has blocks for all its layers
        calibration={},
        adapter=None,
        training={},
    )


def _note(ours: encoder.Encoder) -> str:
    layers = ", ".join(map(str, ours.bundle.pooling.layers))
    return f"{str(ours.dtype).removeprefix('torch.')}, {ours.batch_tokens} tokens per batch, bits of layers {layers}"


def _cosine_table(cosines: dict[str, float]) -> Table:
    rows: list[Any] = [(f"{cosine:.5f}", name) for name, cosine in cosines.items()]
    return Table("Mean cosine similarity to the last layer of encode-once", ("cosine", "contender"), rows)
