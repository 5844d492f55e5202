"""Compute what training minimises: pure functions of tensors, each a term or a piece of one."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn import functional

from encoder.training.tasks import Kind


def straight_through_sign(values: torch.Tensor) -> torch.Tensor:
    """Cut values (n, bits) of about unit variance into -1 and +1, and let gradients through as if nothing had been cut.

    Their share falls with the distance from the threshold, as the slope of tanh does: far off, no small step turns the bit.
    The straight-through estimator of Bengio, Léonard and Courville (2013). Zero gives -1, as in a code.
    """
    soft = values.tanh()
    signs = torch.where(values > 0, 1.0, -1.0)
    return signs + (soft - soft.detach())


def row_losses(logits: torch.Tensor, targets: torch.Tensor, kind: Kind) -> torch.Tensor:
    """Compute each row's loss (n,): cross-entropy, binary cross-entropy summed over classes, or squared error.

    logits (n, outputs) float32; targets (n,) int64 for single, (n, classes) float32 for multi, (n,) float32 for regression.
    """
    if kind == "single":
        return functional.cross_entropy(logits, targets, reduction="none")
    if kind == "multi":
        return functional.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(1)
    return (logits[:, 0] - targets).square()


def guessing(targets: np.ndarray, kind: Kind, classes: int) -> tuple[np.ndarray, float]:
    """Compute what the best guess without looking at a text is: a head's bias (outputs,) float32, and its mean loss.

    A task's loss divided by that of guessing starts at 1, whatever the number of its classes; so tasks weigh alike.
    """
    if kind == "regression":
        return np.array([targets.mean()], np.float32), float(targets.var())
    if kind == "single":
        counts = np.bincount(targets, minlength=classes)
        share = (counts + 1) / (counts.sum() + classes)  # a class that no row has is rare, not impossible
        return np.log(share).astype(np.float32), float(-(counts / counts.sum() * np.log(share)).sum())
    share = (targets.sum(0) + 1) / (len(targets) + 2)
    true = targets.mean(0)
    loss = -(true * np.log(share) + (1 - true) * np.log(1 - share))
    return np.log(share / (1 - share)).astype(np.float32), float(loss.sum())


def keep_loss(signs: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Measure how far the similarities of codes are from those of the base model's features: 0 the same, 1 unrelated.

    signs (n, bits) are of the encoder in training, reference (n, dim) float32 the base model's features, each dimension
    centred and scaled. A cosine c between Gaussian features is, by their signs, 2 / pi * arcsin(c) on average (Charikar,
    STOC 2002): so that is what the codes' similarity is held to. The mean squared difference over pairs of texts, divided by
    the variance of what it is held to.
    """
    similarity = signs @ signs.T / signs.shape[1]
    unit = functional.normalize(reference, dim=1)
    wanted = 2 / math.pi * (unit @ unit.T).clamp(-1, 1).asin()
    pairs = ~torch.eye(len(signs), dtype=torch.bool, device=signs.device)
    similarity, wanted = similarity[pairs], wanted[pairs]
    return (similarity - wanted).square().mean() / wanted.var(unbiased=False).clamp(min=1e-6)


def rebuild_loss(rebuilt: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Measure what is lost of the base model's features (n, dim) float32, of unit variance, when rebuilt from codes.

    The mean squared error: 0 where nothing is lost, 1 where nothing is known. Holding a linear decoder of the code to the input
    is what a binary autoencoder does (Carreira-Perpiñán and Raziperchikolaei, CVPR 2015); here it keeps in the bits what the
    base model knew and no training task asks for.
    """
    return functional.mse_loss(rebuilt, wanted)
