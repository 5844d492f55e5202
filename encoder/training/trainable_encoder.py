"""Everything that learns: a base model's upper layers, the layer that makes bits, a head for each task, a decoder."""

from __future__ import annotations

import contextlib
from typing import cast

import numpy as np
import torch

from encoder.bundle import Bundle
from encoder.forward.model import layers_make_hidden_states, load_model
from encoder.tokenize import Windows
from encoder.training.bit_layer import BitLayer
from encoder.training.objective import prior_baseline, straight_through_sign
from encoder.training.options import TrainOptions
from encoder.training.reference import Reference, SharedLayers, WholeModel
from encoder.training.tasks import Task
from encoder.training.trained_layers import trained_layers, unfreeze_layers


class TrainableEncoder:
    """An encoder, its training heads and its decoder, which compute bits of token ids, and outputs of bits, with gradients.

    Attributes:
        transformer: the base model.
        learned: the parameters of the transformer that learn, by their name in the base model.
        targets: each task's training targets as its head learns them, on the device.
        prior_biases: for each task, the bias (outputs,) float32 of a head that ignores the text.
        prior_losses: for each task, the mean loss of that head, by which the task's loss is divided.
        decoder: the linear layer that reconstructs the base model's features from signs; None without that loss term.
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
        """Load the base model of a bundle.

        Args:
            bundle: without thresholds and projection.
            sample: (rows, dim) float32, the bundle's features of a sample of texts.
            projection: the projection to start from, see `encoder.projection.project`.
            half: whether the transformer computes in bfloat16; weights are float32 in either case.
        """
        self.pooling = bundle.pooling
        self.device = device
        self.half = half
        base = bundle.find_base()
        top = max(bundle.pooling.layers)
        self._pad_id = base.pad_id
        self.transformer = load_model(base.folder, top, device, torch.float32)
        self._layers = trained_layers(self.transformer, options.train_layers, bundle.pooling.layers)
        self._reference: Reference | None = None
        if options.similarity_weight or options.reconstruction_weight:
            if layers_make_hidden_states(self.transformer):
                self._reference = SharedLayers(self._layers)
            else:
                self._reference = WholeModel(load_model(base.folder, top, device, torch.float32))
        self.learned = unfreeze_layers(self._layers)
        for layer in self._layers.values():
            for module in layer.modules():
                if isinstance(module, torch.nn.Dropout):
                    module.p = options.dropout
                # Some families keep the rate as a number.
                for name in ("dropout", "attention_dropout", "activation_dropout"):
                    if isinstance(getattr(module, name, None), (int, float)):
                        setattr(module, name, options.dropout)
        self.bit_layer = BitLayer(sample, projection, options.batch_texts).to(device)
        bits = len(self.bit_layer.centre)
        self._scale = (
            bits**-0.5
        )  # of heads and decoder, so that a learning rate has the same effect for any number of bits
        self.heads = torch.nn.ModuleList()
        self.targets: list[torch.Tensor] = []
        self.prior_biases: list[torch.Tensor] = []
        self.prior_losses: list[float] = []
        for number, task in enumerate(tasks):
            targets = _training_targets(task)
            bias, loss = prior_baseline(targets, task.kind, task.outputs)
            targets = targets.astype(np.int64 if task.kind == "single" else np.float32)
            self.targets.append(torch.from_numpy(targets).to(device))
            self.prior_biases.append(torch.from_numpy(bias).to(device))
            self.prior_losses.append(max(loss, 1e-6))
            self.heads.append(torch.nn.Linear(bits, task.outputs, device=device))
            self.set_head(number, torch.zeros(task.outputs, bits), self.prior_biases[number])
        self.decoder: torch.nn.Linear | None = None
        self._decoded = bundle.pooling.columns(top, sample.shape[1])
        if options.reconstruction_weight:
            self.decoder = torch.nn.Linear(bits, self._decoded.stop - self._decoded.start, device=device)
        self.train(False)

    def set_head(self, task: int, weight: torch.Tensor, bias: torch.Tensor) -> None:
        """Set a training head to weight (outputs, bits) and bias (outputs,) of plain signs."""
        self._set_linear(cast(torch.nn.Linear, self.heads[task]), weight, bias)

    def set_decoder(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        """Set the decoder to weight (dim, bits) and bias (dim,) of plain signs."""
        assert self.decoder is not None
        self._set_linear(self.decoder, weight, bias)

    @torch.no_grad()
    def _set_linear(self, layer: torch.nn.Linear, weight: torch.Tensor, bias: torch.Tensor) -> None:
        layer.weight.copy_(weight / self._scale)
        layer.bias.copy_(bias / self._scale)

    def encoder_parameters(self) -> list[torch.nn.Parameter]:
        """Return the parameters that `learning_rate` applies to: those of the transformer and the projection."""
        return [*self.learned.values(), *self.bit_layer.parameters()]

    def decoder_parameters(self) -> list[torch.nn.Parameter]:
        """Return the decoder's parameters, none without a decoder."""
        return [] if self.decoder is None else list(self.decoder.parameters())

    def state(self) -> dict[str, torch.Tensor]:
        """Return every tensor that training changes, by name; not copies."""
        decoder = {} if self.decoder is None else dict(self.decoder.named_parameters())
        return {
            **{f"encoder.{name}": tensor for name, tensor in self.learned.items()},
            "bits.centre": self.bit_layer.centre,
            **{f"bits.{name}": tensor for name, tensor in self.bit_layer.named_parameters()},
            **{f"heads.{name}": tensor for name, tensor in self.heads.named_parameters()},
            **{f"decoder.{name}": tensor for name, tensor in decoder.items()},
        }

    @torch.no_grad()
    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Set every tensor that training changes to its value in a copy of `state()`."""
        for name, tensor in self.state().items():
            tensor.copy_(state[name])

    def train(self, training: bool) -> None:
        """Turn dropout and the running mean on or off; frozen layers have neither."""
        for layer in self._layers.values():
            layer.train(training)
        self.bit_layer.train(training)

    def pad(self, windows: Windows, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Pad the windows `rows` to the longest: ids (n, tokens) int64 and mask (n, tokens) bool, on the device."""
        ids, mask = windows.batch(rows, self._pad_id)
        return torch.from_numpy(ids).to(self.device), torch.from_numpy(mask).to(self.device)

    def signs(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Encode token ids (n, tokens) int64 under mask (n, tokens) bool into signs (n, bits) float32, -1 and +1."""
        return self._binarise(hidden_states(self.transformer, ids, mask, self.half), mask)

    def signs_and_base_values(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Encode as `signs` does, and return the `base_values` of the same texts; None if no loss term needs them."""
        hidden = hidden_states(self.transformer, ids, mask, self.half)
        signs = self._binarise(hidden, mask)
        if self._reference is None:
            return signs, None
        with torch.no_grad(), products(self.device, self.half):
            features = self.pooling(self._reference(hidden, ids, mask), mask)
        return signs, self.base_values(features)

    def base_values(self, features: torch.Tensor) -> torch.Tensor:
        """Centre and scale the base model's features (n, dim) float32: (n, dim) of about unit variance."""
        return self.bit_layer.standardise(features)

    def reconstruction_targets(self, base_values: torch.Tensor) -> torch.Tensor:
        """Select the base values (n, dim) that the decoder reconstructs: those of the highest pooled layer."""
        return base_values[:, self._decoded]

    @torch.no_grad()
    def frozen_signs(self, features: np.ndarray) -> torch.Tensor:
        """Binarise the base model's features (n, dim) float32 to signs (n, bits) float32, on the device."""
        return straight_through_sign(self.bit_layer(torch.from_numpy(features).to(self.device)))

    def logits(self, task: int, signs: torch.Tensor) -> torch.Tensor:
        """Compute a training head's outputs (n, outputs) float32 of signs (n, bits)."""
        return self.heads[task](signs) * self._scale

    def reconstruct(self, signs: torch.Tensor) -> torch.Tensor:
        """Decode signs (n, bits) into the `reconstruction_targets`."""
        assert self.decoder is not None
        return self.decoder(signs) * self._scale

    def _binarise(self, hidden: tuple[torch.Tensor, ...], mask: torch.Tensor) -> torch.Tensor:
        return straight_through_sign(self.bit_layer(self.pooling(hidden, mask)))


def hidden_states(
    model: torch.nn.Module, ids: torch.Tensor, mask: torch.Tensor, half: bool
) -> tuple[torch.Tensor, ...]:
    """Run a model over token ids (n, tokens) int64: hidden states by layer, each (n, tokens, width)."""
    with products(ids.device, half):
        return model(input_ids=ids, attention_mask=mask.long(), output_hidden_states=True).hidden_states


def products(device: torch.device, half: bool) -> contextlib.AbstractContextManager[None]:
    """Return a context that computes products in bfloat16 if `half`."""
    return torch.autocast(device.type, torch.bfloat16) if half else contextlib.nullcontext()


def _training_targets(task: Task) -> np.ndarray:
    """Return a task's training targets; those of a regression are centred and scaled to variance 1."""
    targets = task.train.targets
    return (targets - targets.mean()) / targets.std() if task.kind == "regression" else targets
