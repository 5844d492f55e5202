"""Hold what learns: a base model opened for training, the layer that cuts to bits, a head a task, a decoder."""

from __future__ import annotations

import contextlib

import numpy as np
import torch

from encoder.bundle import Bundle
from encoder.forward.model import layers_make_hidden_states, load_model
from encoder.tokenize import Windows
from encoder.training.bit_layer import BitLayer
from encoder.training.objective import guessing, straight_through_sign
from encoder.training.options import TrainOptions
from encoder.training.reference import Reference, SharedLayers, WholeModel
from encoder.training.tasks import Task
from encoder.training.trained_layers import open_layers, trained_layers


class Student:
    """Compute bits of token ids, and what training heads and the decoder make of bits, with gradients.

    Attributes:
        learned: the encoder's parameters that learn, by their name in the base model.
        targets: each task's training targets as its head learns them, on the device.
        guesses: each task's best guess without a text: a head's bias (outputs,) float32.
        loss_scale: each task's mean loss of guessing: what its loss is divided by.
        decoder: the linear layer that rebuilds the base model's features from signs; None where that is not asked for.
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
        base = bundle.find_base()
        top = max(bundle.pooling.layers)
        self._pad_id = base.pad_id
        self.model = load_model(base.folder, top, device, torch.float32)
        self._layers = trained_layers(self.model, options.train_layers, bundle.pooling.layers)
        self._reference: Reference | None = None
        if options.keep or options.rebuild:
            if layers_make_hidden_states(self.model):
                self._reference = SharedLayers(self._layers)
            else:
                self._reference = WholeModel(load_model(base.folder, top, device, torch.float32))
        self.learned = open_layers(self._layers)
        for layer in self._layers.values():
            for module in layer.modules():
                if isinstance(module, torch.nn.Dropout):
                    module.p = options.dropout
                for name in ("dropout", "attention_dropout", "activation_dropout"):  # families that keep it as a number
                    if isinstance(getattr(module, name, None), (int, float)):
                        setattr(module, name, options.dropout)
        self.bit_layer = BitLayer(sample, projection, options.batch_texts).to(device)
        bits = len(self.bit_layer.centre)
        self._scale = bits**-0.5  # of heads and decoder, so that their rate means the same for any number of bits
        self.heads = torch.nn.ModuleList()
        self.targets, self.guesses, self.loss_scale = [], [], []
        for number, task in enumerate(tasks):
            targets = _training_targets(task)
            guess, loss = guessing(targets, task.kind, task.outputs)
            targets = targets.astype(np.int64 if task.kind == "single" else np.float32)
            self.targets.append(torch.from_numpy(targets).to(device))
            self.guesses.append(torch.from_numpy(guess).to(device))
            self.loss_scale.append(max(loss, 1e-6))
            self.heads.append(torch.nn.Linear(bits, task.outputs, device=device))
            self.set_head(number, torch.zeros(task.outputs, bits), self.guesses[number])
        self.decoder = None
        if options.rebuild:
            self._rebuilt = bundle.pooling.columns(top, sample.shape[1])
            self.decoder = torch.nn.Linear(bits, self._rebuilt.stop - self._rebuilt.start, device=device)
        self.train(False)

    @torch.no_grad()
    def set_head(self, task: int, weight: torch.Tensor, bias: torch.Tensor) -> None:
        """Set a training head to weight (outputs, bits) and bias (outputs,) of plain signs."""
        self.heads[task].weight.copy_(weight / self._scale)
        self.heads[task].bias.copy_(bias / self._scale)

    @torch.no_grad()
    def set_decoder(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        """Set the decoder to weight (dim, bits) and bias (dim,) of plain signs."""
        self.decoder.weight.copy_(weight / self._scale)
        self.decoder.bias.copy_(bias / self._scale)

    def encoder_parameters(self) -> list[torch.nn.Parameter]:
        """List what `learning_rate` is for: the encoder's parameters and the projection."""
        return [*self.learned.values(), *self.bit_layer.parameters()]

    def decoder_parameters(self) -> list[torch.nn.Parameter]:
        return [] if self.decoder is None else list(self.decoder.parameters())

    def state(self) -> dict[str, torch.Tensor]:
        """Give every tensor that training changes, by name; not copies."""
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
        """Set every tensor that training changes to what a copy of `state()` holds."""
        for name, tensor in self.state().items():
            tensor.copy_(state[name])

    def train(self, training: bool) -> None:
        """Turn dropout and the running mean on or off; frozen layers have neither."""
        for layer in self._layers.values():
            layer.train(training)
        self.bit_layer.train(training)

    def lay_out(self, windows: Windows, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Pad some windows: ids (n, tokens) int64 and mask (n, tokens) bool, on the device."""
        ids, mask = windows.batch(rows, self._pad_id)
        return torch.from_numpy(ids).to(self.device), torch.from_numpy(mask).to(self.device)

    def signs(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Encode token ids (n, tokens) int64 under mask (n, tokens) bool into signs (n, bits) float32, -1 and +1."""
        return self._cut(hidden_states(self.model, ids, mask, self.half), mask)

    def signs_and_base(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Encode as `signs` does; with them, what the base model gives: values (n, dim) float32 of about unit variance."""
        hidden = hidden_states(self.model, ids, mask, self.half)
        signs = self._cut(hidden, mask)
        if self._reference is None:
            return signs, None
        with torch.no_grad(), products(self.device, self.half):
            features = self.pooling(self._reference(hidden, ids, mask), mask)
        return signs, self.base_values(features)

    def base_values(self, features: torch.Tensor) -> torch.Tensor:
        """Centre and scale the base model's features (n, dim)."""
        return self.bit_layer.standardise(features)

    def to_rebuild(self, values: torch.Tensor) -> torch.Tensor:
        """Pick the base model's values that the decoder is to give: those of the highest layer that is pooled."""
        return values[:, self._rebuilt]

    @torch.no_grad()
    def frozen_signs(self, features: np.ndarray) -> torch.Tensor:
        """Cut the base model's features (n, dim) float32 into signs (n, bits) float32, on the device."""
        return straight_through_sign(self.bit_layer(torch.from_numpy(features).to(self.device)))

    def logits(self, task: int, signs: torch.Tensor) -> torch.Tensor:
        """Compute a training head's outputs (n, outputs) float32 of signs (n, bits)."""
        return self.heads[task](signs) * self._scale

    def rebuild(self, signs: torch.Tensor) -> torch.Tensor:
        """Decode signs (n, bits) into what `to_rebuild` picks."""
        return self.decoder(signs) * self._scale

    def _cut(self, hidden: tuple[torch.Tensor, ...], mask: torch.Tensor) -> torch.Tensor:
        return straight_through_sign(self.bit_layer(self.pooling(hidden, mask)))


def hidden_states(
    model: torch.nn.Module, ids: torch.Tensor, mask: torch.Tensor, half: bool
) -> tuple[torch.Tensor, ...]:
    """Run a model over token ids (n, tokens) int64: hidden states by layer, each (n, tokens, width)."""
    with products(ids.device, half):
        return model(input_ids=ids, attention_mask=mask.long(), output_hidden_states=True).hidden_states


def products(device: torch.device, half: bool) -> contextlib.AbstractContextManager[None]:
    """Compute products in bfloat16 in here, where `half`."""
    return torch.autocast(device.type, torch.bfloat16) if half else contextlib.nullcontext()


def _training_targets(task: Task) -> np.ndarray:
    """Give a task's training targets, numbers of a regression centred and scaled to variance 1."""
    targets = task.train.targets
    return (targets - targets.mean()) / targets.std() if task.kind == "regression" else targets
