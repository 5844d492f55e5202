"""Encode texts with ONNX Runtime at its best settings: fused or plain graph, texts sorted by length, tokens per batch."""

from __future__ import annotations

import itertools
import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from benchmarks.harness import best_setting
from benchmarks.rivals import Rival, Task

BATCH_TOKENS = (1024, 2048, 4096, 8192)


def onnx_float32(task: Task) -> Rival:
    plain = export(task)
    return _rival("ONNX Runtime, float32", task, {"plain graph": plain, "fused graph": _fuse(plain, task)})


def onnx_int8(task: Task) -> Rival:
    """Quantise the weights to 8 bits in advance, and the activations at run time.

    Each channel has a scale; one scale per matrix loses far more accuracy.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    plain = export(task)
    graphs = {"plain graph": plain, "fused graph": _fuse(plain, task)}
    for name, path in graphs.items():
        graphs[name] = path.with_name(f"int8-{path.name}")
        options = {
            "DefaultTensorType": onnx.TensorProto.FLOAT
        }  # shape inference does not know the types of fused nodes
        quantize_dynamic(path, graphs[name], weight_type=QuantType.QInt8, per_channel=True, extra_options=options)
    return _rival("ONNX Runtime, dynamic int8", task, graphs)


def export(task: Task) -> Path:
    """Write the base model and the mean of its last layer as an ONNX graph; return its path.

    Batch size and length are dynamic.
    """
    from transformers import AutoModel

    path = task.work / "onnx" / "plain.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    # ONNX Runtime fuses the attention only in the graph that torch's older exporter makes from eager attention.
    model = AutoModel.from_pretrained(task.base, attn_implementation="eager", dtype=torch.float32)
    ids, mask = torch.randint(1000, 2000, (2, 8)), torch.ones(2, 8, dtype=torch.long)
    dynamic = {0: "batch", 1: "tokens"}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _MeanOfLastLayer(model).eval(),
            (ids, mask),
            str(path),
            input_names=["input_ids", "attention_mask"],
            output_names=["vectors"],
            dynamic_axes={"input_ids": dynamic, "attention_mask": dynamic, "vectors": {0: "batch"}},
            opset_version=17,
            dynamo=False,
        )
    return path


class _MeanOfLastLayer(torch.nn.Module):
    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        hidden = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        weights = attention_mask.unsqueeze(2).to(hidden.dtype)
        return (hidden * weights).sum(1) / weights.sum(1)


def _fuse(plain: Path, task: Task) -> Path:
    from onnxruntime.transformers import optimizer

    config = json.loads((Path(task.base) / "config.json").read_text(encoding="utf-8"))
    heads, width = config["num_attention_heads"], config["hidden_size"]
    path = plain.with_name("fused.onnx")
    fused = optimizer.optimize_model(str(plain), "bert", num_heads=heads, hidden_size=width, opt_level=0)
    fused.save_model_to_file(str(path))
    return path


def _rival(name: str, task: Task, graphs: dict[str, Path]) -> Rival:
    import onnxruntime

    sessions = {
        graph: onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        for graph, path in graphs.items()
    }
    tokenize = tokenizer(task)

    def encode(texts: list[str], setting: tuple[str, int]) -> np.ndarray:
        graph, batch_tokens = setting
        vectors = np.empty((0, 0), np.float32)
        for rows, ids, mask in sorted_batches(tokenize(texts), batch_tokens):
            batch = sessions[graph].run(None, {"input_ids": ids, "attention_mask": mask})[0]
            if not len(vectors):
                vectors = np.empty((len(texts), batch.shape[1]), np.float32)
            vectors[rows] = batch
        return vectors

    settings = list(itertools.product(sessions, BATCH_TOKENS))
    best = best_setting(settings, lambda setting: encode(task.tune, setting))
    note = f"best of graphs × batches: {best[0]}, {best[1]} tokens per batch, sorted by length"
    return Rival(name, lambda texts: encode(texts, best), note)


def tokenizer(task: Task) -> Callable[[list[str]], list[list[int]]]:
    """Load the base model's fast tokenizer; return a function from texts to their token ids."""
    from tokenizers import Tokenizer

    fast = Tokenizer.from_file(str(Path(task.base) / "tokenizer.json"))
    fast.no_padding()
    fast.enable_truncation(task.max_tokens)
    return lambda texts: [encoding.ids for encoding in fast.encode_batch_fast(texts)]


def sorted_batches(token_ids: list[list[int]], batch_tokens: int) -> Iterator[tuple[list[int], np.ndarray, np.ndarray]]:
    """Yield padded batches of at most `batch_tokens` tokens, longest texts first: rows, ids and mask (n, tokens) int64."""
    order = sorted(range(len(token_ids)), key=lambda i: -len(token_ids[i]))
    start = 0
    while start < len(order):
        longest = len(token_ids[order[start]])
        rows = order[start : start + max(1, batch_tokens // longest)]
        ids, mask = np.zeros((2, len(rows), longest), np.int64)
        for i, row in enumerate(rows):
            ids[i, : len(token_ids[row])] = token_ids[row]
            mask[i, : len(token_ids[row])] = 1
        yield rows, ids, mask
        start += len(rows)
