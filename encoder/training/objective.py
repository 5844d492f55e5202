"""The terms that training minimises, as pure functions of tensors."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn import functional

from encoder.training.tasks import Kind


def straight_through_sign(values: torch.Tensor) -> torch.Tensor:
    """Binarise values (n, bits) of about unit variance to -1 and +1; gradients pass as through tanh.

    The gradient fades with the distance from the threshold: where no small step changes the bit, there is nearly none. This
    is a straight-through estimator (Bengio, Léonard and Courville, 2013). Zero gives -1, as in a code.
    """
    soft = values.tanh()
    signs = torch.where(values > 0, 1.0, -1.0)
    return signs + (soft - soft.detach())


def row_losses(logits: torch.Tensor, targets: torch.Tensor, kind: Kind) -> torch.Tensor:
    """Compute each row's loss (n,): cross-entropy, binary cross-entropy summed over classes, or squared error.

    Args:
        logits: (n, outputs) float32.
        targets: (n,) int64 for single, (n, classes) float32 for multi, (n,) float32 for regression.
    """
    if kind == "single":
        return functional.cross_entropy(logits, targets, reduction="none")
    if kind == "multi":
        return functional.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(1)
    return (logits[:, 0] - targets).square()


def prior_baseline(targets: np.ndarray, kind: Kind, classes: int) -> tuple[np.ndarray, float]:
    """Compute the best prediction that ignores the text: the bias of a head (outputs,) float32, and its mean loss.

    A task's loss is divided by the loss of this baseline. It then starts at 1 for any number of classes, and tasks have equal
    weight.
    """
    if kind == "regression":
        return np.array([targets.mean()], np.float32), float(targets.var())
    if kind == "single":
        counts = np.bincount(targets, minlength=classes)
        share = (counts + 1) / (counts.sum() + classes)  # a class without rows is rare, not impossible
        return np.log(share).astype(np.float32), float(-(counts / counts.sum() * np.log(share)).sum())
    share = (targets.sum(0) + 1) / (len(targets) + 2)
    true = targets.mean(0)
    loss = -(true * np.log(share) + (1 - true) * np.log(1 - share))
    return np.log(share / (1 - share)).astype(np.float32), float(loss.sum())


def similarity_loss(signs: torch.Tensor, base_values: torch.Tensor) -> torch.Tensor:
    """Compare the similarities between codes with those between the base model's features: 0 equal, 1 unrelated.

    If two Gaussian features have the cosine c, then their signs agree like 2 / pi * arcsin(c) on average (Charikar, STOC 2002):
    this is the target of the codes' similarity. The loss is the mean squared difference over pairs of texts, divided by the
    variance of the targets.

    Args:
        signs: (n, bits), of the encoder in training.
        base_values: (n, dim) float32, the base model's features, each dimension centred and scaled.
    """
    similarity = signs @ signs.T / signs.shape[1]
    unit = functional.normalize(base_values, dim=1)
    target = 2 / math.pi * (unit @ unit.T).clamp(-1, 1).asin()
    pairs = ~torch.eye(len(signs), dtype=torch.bool, device=signs.device)
    similarity, target = similarity[pairs], target[pairs]
    return (similarity - target).square().mean() / target.var(unbiased=False).clamp(min=1e-6)


def reconstruction_loss(reconstructed: torch.Tensor, base_values: torch.Tensor) -> torch.Tensor:
    """Compute the mean squared error of the base model's features (n, dim) float32, of unit variance, decoded from codes.

    0: nothing is lost; 1: nothing is known. A linear decoder from code to input makes this a binary autoencoder
    (Carreira-Perpiñán and Raziperchikolaei, CVPR 2015). It keeps in the bits what the base model knows and no training task
    asks for.
    """
    return functional.mse_loss(reconstructed, base_values)
