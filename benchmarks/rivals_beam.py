"""Encode texts by Beam's own ways to a model: RunInference with the Hugging Face handler, MLTransform's embeddings.

Each runs a whole local pipeline a round; the models are loaded beforehand, as loading is timed elsewhere.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.harness import best_setting
from benchmarks.rivals import (
    BATCH_SIZES,
    Rival,
    Task,
    feature_extraction,
    pool,
    precisions,
    sentence_transformer,
)

LENGTH_BUCKETS = (64, 128, 256, 512)  # characters
_LOADED: dict[str, Any] = {}
_COLLECTED: list[Any] = []


def ml_transform_defaults(task: Task) -> Rival:
    _LOADED["embeddings"] = sentence_transformer(task)
    return _ml_transform("Beam MLTransform, defaults", "SentenceTransformerEmbeddings", "embeddings")


def ml_transform_best(task: Task) -> Rival:
    """Give sentence-transformers bundles of 1,024 texts, so that it can sort them, and search its best batch size."""
    dtype = precisions()[-1]
    _LOADED["best embeddings"] = sentence_transformer(task, dtype=dtype)

    def build(batch_size: int) -> Rival:
        note = f"SentenceTransformerEmbeddings, {dtype}, 1,024 texts a call, best batch size: {batch_size}"
        more = {"min_batch_size": 1024, "max_batch_size": 1024, "inference_args": {"batch_size": batch_size}}
        return _ml_transform("Beam MLTransform, best", note, "best embeddings", **more)

    rivals = {batch_size: build(batch_size) for batch_size in BATCH_SIZES}
    return rivals[best_setting(list(rivals), lambda batch_size: rivals[batch_size].encode(task.tune))]


def run_inference_defaults(task: Task) -> Rival:
    handler, note = _hugging_face_handler()
    _LOADED["defaults"] = feature_extraction(task, "float32")
    model_handler = handler("feature-extraction", "defaults")
    return _run_inference(task, "Beam RunInference, defaults", f"HuggingFacePipelineModelHandler{note}", model_handler)


def run_inference_best(task: Task) -> Rival:
    """Batch by length buckets, tensors given back, and search the best batch size."""
    handler, _ = _hugging_face_handler()
    dtype = precisions()[-1]
    _LOADED["best"] = feature_extraction(task, dtype, return_tensors=True)

    def build(batch_size: int) -> Rival:
        model_handler = handler(
            "feature-extraction",
            "best",
            min_batch_size=batch_size,
            max_batch_size=batch_size,
            batch_length_fn=len,
            batch_bucket_boundaries=list(LENGTH_BUCKETS),
            inference_args={"batch_size": batch_size},
        )
        note = f"HuggingFacePipelineModelHandler, {dtype}, length buckets, best batch size: {batch_size}, tensors"
        return _run_inference(task, "Beam RunInference, best", note, model_handler)

    rivals = {batch_size: build(batch_size) for batch_size in BATCH_SIZES}
    return rivals[best_setting(list(rivals), lambda batch_size: rivals[batch_size].encode(task.tune))]


def _ml_transform(name: str, note: str, model: str, **more: Any) -> Rival:
    from apache_beam.ml.transforms.base import MLTransform
    from apache_beam.ml.transforms.embeddings.huggingface import SentenceTransformerEmbeddings

    class Loaded(SentenceTransformerEmbeddings):
        def get_model_handler(self):
            handler = super().get_model_handler()
            handler._model_class = _loaded
            return handler

    def encode(texts: list[str]) -> np.ndarray:
        rows = [{"row": str(i), "text": text} for i, text in enumerate(texts)]
        with tempfile.TemporaryDirectory() as artifacts:
            transform = MLTransform(write_artifact_location=artifacts).with_transform(
                Loaded(model_name=model, columns=["text"], **more)
            )
            outputs = _through_beam(rows, transform)
        by_row = {int(_field(row, "row")): _field(row, "text") for row in outputs}
        return np.stack([np.asarray(by_row[i], np.float32) for i in range(len(texts))])

    return Rival(name, encode, note)


def _run_inference(task: Task, name: str, note: str, handler: Any) -> Rival:
    from apache_beam.ml.inference.base import RunInference

    def encode(texts: list[str]) -> np.ndarray:
        outputs = _through_beam(texts, RunInference(handler))
        by_text = {result.example: pool(result.inference, task.token_counts[result.example]) for result in outputs}
        return np.stack([by_text[text] for text in texts])

    return Rival(name, encode, note)


def _through_beam(elements: list[Any], transform: Any) -> list[Any]:
    """Run elements through a transform in a local pipeline of their own."""
    import apache_beam as beam

    _COLLECTED.clear()
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        pipeline | beam.Create(elements, reshuffle=False) | transform | beam.Map(_collect)
    return list(_COLLECTED)


def _collect(element: Any) -> None:
    _COLLECTED.append(element)  # the local runner works in this process


def _loaded(name: str, **_: Any) -> Any:
    return _LOADED[name]


def _field(row: Any, name: str) -> Any:
    return row[name] if isinstance(row, dict) else getattr(row, name)


def _hugging_face_handler() -> tuple[Callable[..., Any], str]:
    """Import Beam's handler; gives a way to make one with a loaded pipeline, and what had to be done for it.

    Beam's module imports TensorFlow and a class that transformers 5 no longer has, though it uses neither with PyTorch. Where
    only these are missing, empty ones stand in for them while it is imported: otherwise it could not be measured at all.
    """
    name = "apache_beam.ml.inference.huggingface_inference"
    try:
        module, note = importlib.import_module(name), ""
    except ImportError:
        from transformers import AutoModel, Pipeline, pipeline  # noqa: F401  (before the stand-in is seen)

        stand_in = types.ModuleType("tensorflow")
        vars(stand_in)["Tensor"] = type("Tensor", (), {})
        sys.modules["tensorflow"] = stand_in
        transformers = vars(sys.modules["transformers"])
        transformers["TFAutoModel"] = object
        try:
            module, note = importlib.import_module(name), " (imported with stand-ins for TensorFlow and TFAutoModel)"
        finally:
            del sys.modules["tensorflow"], transformers["TFAutoModel"]

    def make(task_name: str, loaded: str, **more: Any) -> Any:
        handler = module.HuggingFacePipelineModelHandler(task=task_name, model=loaded, device="CPU", **more)
        handler.load_model = _LoadedPipeline(loaded)
        return handler

    return make, note


class _LoadedPipeline:
    """Give a pipeline that is loaded; survives pickling, as handlers must."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self) -> Any:
        return _LOADED[self.name]
