"""Encode texts by Beam's own ways to run a model: MLTransform with sentence-transformers, and RunInference.

Every round runs a whole local pipeline. The models are loaded beforehand, because `startup` measures loading.
"""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

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
from benchmarks.rivals_onnx import tokenizer

LENGTH_BUCKETS = (16, 32, 64, 128, 256, 512)  # tokens; Beam's default
_LOADED_MODELS: dict[str, Any] = {}
_COLLECTED: list[Any] = []


def ml_transform_defaults(task: Task) -> Rival:
    _LOADED_MODELS["embeddings"] = sentence_transformer(task)
    return _ml_transform("Beam MLTransform, defaults", "SentenceTransformerEmbeddings", "embeddings")


def ml_transform_best(task: Task) -> Rival:
    """Pass 1,024 texts at once to sentence-transformers, which sorts them by length, at its best batch size."""
    dtype = precisions()[-1]
    _LOADED_MODELS["best embeddings"] = sentence_transformer(task, dtype=dtype)

    def build(batch_size: int) -> Rival:
        note = f"SentenceTransformerEmbeddings, {dtype}, 1,024 texts a call, best batch size: {batch_size}"
        options = {"min_batch_size": 1024, "max_batch_size": 1024, "inference_args": {"batch_size": batch_size}}
        return _ml_transform("Beam MLTransform, best", note, "best embeddings", **options)

    rivals = {batch_size: build(batch_size) for batch_size in BATCH_SIZES}
    return rivals[best_setting(list(rivals), lambda batch_size: rivals[batch_size].encode(task.tune))]


def run_inference_defaults(task: Task) -> Rival:
    """Run RunInference with the Hugging Face handler at its defaults.

    Raises:
        ImportError: Beam's module of the handler cannot be imported. It needs TensorFlow, and a class that transformers 5
            no longer has.
    """
    from apache_beam.ml.inference.base import RunInference
    from apache_beam.ml.inference.huggingface_inference import HuggingFacePipelineModelHandler

    _LOADED_MODELS["pipeline"] = feature_extraction(task, "float32")
    handler = HuggingFacePipelineModelHandler(task="feature-extraction", model=task.base, device="CPU")
    handler.load_model = _LoadedModel("pipeline")  # type: ignore[method-assign]  # nothing is loaded again

    def encode(texts: list[str]) -> np.ndarray:
        results = _run_pipeline(texts, RunInference(handler))
        vectors = {result.example: pool(result.inference, task.token_counts[result.example]) for result in results}
        return np.stack([vectors[text] for text in texts])

    return Rival("Beam RunInference, defaults", encode, "HuggingFacePipelineModelHandler")


def run_inference_best(task: Task) -> Rival:
    """Run RunInference with the PyTorch handler, which batches token ids by length buckets, at its best batch size."""
    from apache_beam.ml.inference.base import RunInference
    from apache_beam.ml.inference.pytorch_inference import PytorchModelHandlerKeyedTensor
    from transformers import AutoModel

    dtype = precisions()[-1]
    _LOADED_MODELS["model"] = AutoModel.from_pretrained(task.base, dtype=getattr(torch, dtype)).eval()
    tokenize = tokenizer(task)

    def build(batch_size: int) -> Rival:
        handler = PytorchModelHandlerKeyedTensor(
            inference_fn=mean_of_last_layer,  # type: ignore[arg-type]  # it gives arrays, which Beam passes on
            min_batch_size=batch_size,
            max_batch_size=batch_size,
            batch_length_fn=_count_tokens,
            batch_bucket_boundaries=list(LENGTH_BUCKETS),
        )
        handler.load_model = _LoadedModel("model")  # type: ignore[method-assign]  # nothing is loaded again

        def encode(texts: list[str]) -> np.ndarray:
            examples = [
                {"row": torch.tensor(row), "input_ids": torch.tensor(ids)} for row, ids in enumerate(tokenize(texts))
            ]
            results = _run_pipeline(examples, RunInference(handler))
            vectors = {int(result.example["row"]): result.inference for result in results}
            return np.stack([vectors[row] for row in range(len(texts))])

        note = f"PytorchModelHandlerKeyedTensor, {dtype}, length buckets, best batch size: {batch_size}"
        return Rival("Beam RunInference, best", encode, note)

    rivals = {batch_size: build(batch_size) for batch_size in BATCH_SIZES}
    return rivals[best_setting(list(rivals), lambda batch_size: rivals[batch_size].encode(task.tune))]


def mean_of_last_layer(
    batch: list[dict[str, torch.Tensor]],
    model: torch.nn.Module,
    device: Any,
    inference_args: dict[str, Any] | None = None,
    model_id: str | None = None,
) -> list[Any]:
    """Pad a batch of token ids and return a result for each text: the mean of the last layer, (width,) float32."""
    from apache_beam.ml.inference.base import PredictionResult

    ids = [example["input_ids"] for example in batch]
    mask = pad_sequence([torch.ones_like(i) for i in ids], batch_first=True)
    with torch.inference_mode():
        hidden = model(input_ids=pad_sequence(ids, batch_first=True), attention_mask=mask).last_hidden_state
        weights = mask.unsqueeze(2).to(hidden.dtype)
        vectors = ((hidden * weights).sum(1) / weights.sum(1)).float().numpy()
    return [PredictionResult(example, vector, model_id) for example, vector in zip(batch, vectors)]


def _count_tokens(example: dict[str, torch.Tensor]) -> int:
    return len(example["input_ids"])


def _ml_transform(name: str, note: str, model: str, **options: Any) -> Rival:
    from apache_beam.ml.transforms.base import MLTransform
    from apache_beam.ml.transforms.embeddings.huggingface import SentenceTransformerEmbeddings

    class LoadedEmbeddings(SentenceTransformerEmbeddings):
        def get_model_handler(self):
            handler = super().get_model_handler()
            handler._model_class = _loaded_model
            return handler

    def encode(texts: list[str]) -> np.ndarray:
        rows = [{"row": str(i), "text": text} for i, text in enumerate(texts)]
        with tempfile.TemporaryDirectory() as artifacts:
            transform = MLTransform(write_artifact_location=artifacts).with_transform(
                LoadedEmbeddings(model_name=model, columns=["text"], **options)
            )
            results = _run_pipeline(rows, transform)
        vectors = {int(_field(row, "row")): _field(row, "text") for row in results}
        return np.stack([np.asarray(vectors[i], np.float32) for i in range(len(texts))])

    return Rival(name, encode, note)


def _run_pipeline(elements: list[Any], transform: Any) -> list[Any]:
    """Apply a transform to elements in a local pipeline and return its results, in any order."""
    import apache_beam as beam

    _COLLECTED.clear()
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        pipeline | beam.Create(elements, reshuffle=False) | transform | beam.Map(_collect)
    return list(_COLLECTED)


def _collect(element: Any) -> None:
    _COLLECTED.append(element)  # the local runner runs in this process


def _loaded_model(name: str, **_: Any) -> Any:
    return _LOADED_MODELS[name]


def _field(row: Any, name: str) -> Any:
    return row[name] if isinstance(row, dict) else getattr(row, name)


class _LoadedModel:
    """A function that returns a loaded model by its name. Beam pickles handlers, so it does not hold the model itself."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self) -> Any:
        return _LOADED_MODELS[self.name]
