"""Hold what learns: a base model opened for training, the layer that cuts to bits, a head a task."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import torch

from encoder.bit_layer import BitLayer
from encoder.bundle import Bundle
from encoder.model import load_model
from encoder.objective import guessing, straight_through_sign
from encoder.tasks import Task
from encoder.train_options import TrainOptions
from encoder.trainable import open_layers, trained_layers


class Student:
    """Compute bits of token ids, and the training heads' outputs of bits, with gradients.

    Attributes:
        learned: the encoder's parameters that learn, by their name in the base model.
        loss_scale: each task's mean loss of guessing: what its loss is divided by.
    """

    def __init__(
        self,
        bundle: Bundle,
        tasks: list[Task],
        options: TrainOptions,
        sample: np.ndarray,
        projection: np.ndarray | None,
        device: torch.device,
        half: bool,
    ) -> None:
        """Take an uncut bundle, its features of a sample (rows, dim) float32 and the projection to start from, or None.

        half: compute the transformer in bfloat16; weights stay float32.
        """
        self.pooling = bundle.pooling
        self.device = device
        self.half = half
        self.model = load_model(bundle.find_base().folder, max(bundle.pooling.layers), device, torch.float32)
        self._layers = trained_layers(self.model, options.train_layers)
        self.learned = open_layers(self._layers, options)
        for layer in self._layers.values():
            for module in layer.modules():
                if isinstance(module, torch.nn.Dropout):
                    module.p = options.dropout
        self.bit_layer = BitLayer(sample, projection).to(device)
        bits = len(self.bit_layer.centre)
        self._head_scale = bits**-0.5  # so that a head's rate means the same for any number of bits
        self.heads = torch.nn.ModuleList()
        self.loss_scale = []
        for task in tasks:
            bias, loss = guessing(training_targets(task), task.kind, task.outputs)
            head = torch.nn.Linear(bits, task.outputs)
            torch.nn.init.zeros_(head.weight)
            head.bias.data = torch.from_numpy(bias)
            self.heads.append(head)
            self.loss_scale.append(max(loss, 1e-6))
        self.heads.to(device)

    def encoder_parameters(self) -> list[torch.nn.Parameter]:
        """List what `learning_rate` is for: the encoder's parameters and the projection."""
        return [*self.learned.values(), *self.bit_layer.parameters()]

    def state(self) -> dict[str, torch.Tensor]:
        """Give every tensor that training changes, by name; not copies."""
        return {
            **{f"encoder.{name}": tensor for name, tensor in self.learned.items()},
            **{f"bits.{name}": getattr(self.bit_layer, name) for name in ("centre", "spread")},
            **{f"bits.{name}": tensor for name, tensor in self.bit_layer.named_parameters()},
            **{f"heads.{name}": tensor for name, tensor in self.heads.named_parameters()},
        }

    @torch.no_grad()
    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Set every tensor that training changes to what a copy of `state()` holds."""
        for name, tensor in self.state().items():
            tensor.copy_(state[name])

    def train(self, training: bool) -> None:
        """Turn dropout and the running means on or off; frozen layers have neither."""
        for layer in self._layers.values():
            layer.train(training)
        self.bit_layer.train(training)

    def signs(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Encode token ids (n, tokens) int64 under mask (n, tokens) bool into signs (n, bits) float32, -1 and +1."""
        return straight_through_sign(self.bit_layer(pooled(self.model, self.pooling, ids, mask, self.half)))

    def logits(self, task: int, signs: torch.Tensor) -> torch.Tensor:
        """Compute a training head's outputs (n, outputs) float32 of signs (n, bits)."""
        return self.heads[task](signs * self._head_scale)


def pooled(model: torch.nn.Module, pooling, ids: torch.Tensor, mask: torch.Tensor, half: bool) -> torch.Tensor:
    """Run a model over token ids and pool: (n, dim) float32."""
    with torch.autocast(ids.device.type, torch.bfloat16) if half else contextlib.nullcontext():
        hidden = model(input_ids=ids, attention_mask=mask.long(), output_hidden_states=True).hidden_states
    return pooling(hidden, mask)


def training_targets(task: Task) -> np.ndarray:
    """Give a task's training targets as heads learn them: numbers of a regression centred and scaled to variance 1."""
    targets = task.train.targets
    return (targets - targets.mean()) / targets.std() if task.kind == "regression" else targets


@contextlib.contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Leave torch's random state as it was, and take kernels whose sums have a fixed order where there are some."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    fill = torch.utils.deterministic.fill_uninitialized_memory
    devices = [device.index or 0] if device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.enable_grad():
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # nothing here reads it; 13 % of a step
        try:
            yield
        finally:
            torch.utils.deterministic.fill_uninitialized_memory = fill
            torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
