"""Store the differences between a trained model and its base: thin matrices, or whole differences, added when it is loaded.

Needs neither torch nor transformers. The sum is computed once, so that encoding costs nothing more.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from encoder.base import EncoderError

DOWN, UP, DELTA = ".down", ".up", ".delta"


class Adapter:
    """The tensors that are added to the weights of a base model.

    Tensors are float16, by name: `<module path>.down` (rank, in) and `<module path>.up` (out, rank), whose product
    `up @ down` is added to the module's weight (out, in); `<parameter path>.delta`, of the parameter's shape, is added to
    the parameter.
    """

    def __init__(self, tensors: dict[str, np.ndarray]) -> None:
        """Take float16 tensors by name.

        Raises:
            EncoderError: there are none, or a name, dtype, shape or value is wrong.
        """
        self.tensors = {name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)}
        if not self.tensors:
            raise EncoderError("an adapter needs at least one tensor; a bundle without differences has no adapter")
        for name, tensor in self.tensors.items():
            if tensor.dtype != np.float16:
                raise EncoderError(f"adapter tensor {name} must be float16, not {tensor.dtype}")
            if not np.isfinite(tensor).all():
                raise EncoderError(f"adapter tensor {name} has values that are not finite")
            stem, _, kind = name.rpartition(".")
            if f".{kind}" not in (DOWN, UP, DELTA):
                raise EncoderError(f"adapter tensor {name} must end in one of {DOWN}, {UP}, {DELTA}")
            if f".{kind}" != DELTA:
                self._check_pair(stem)

    def _check_pair(self, stem: str) -> None:
        down, up = (self.tensors.get(stem + end) for end in (DOWN, UP))
        if down is None or up is None or down.ndim != 2 or up.ndim != 2 or up.shape[1] != down.shape[0]:
            shapes = " and ".join("absent" if t is None else str(t.shape) for t in (down, up))
            raise EncoderError(f"adapter of {stem} needs {DOWN} (rank, in) and {UP} (out, rank), not {shapes}")

    @functools.cached_property
    def content(self) -> bytes:
        """Return the bytes of a safetensors file; the same adapter gives the same bytes."""
        return save_tensors(self.tensors)

    @classmethod
    def read(cls, content: bytes) -> Adapter:
        """Read the bytes of `content`.

        Raises:
            EncoderError: see `Adapter`.
            SafetensorError: the bytes are damaged.
        """
        return cls(load_tensors(content))

    def additions(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yield (parameter path, float32 array of the parameter's shape) of what is added, in the order of names."""
        for name, tensor in self.tensors.items():
            stem, _, kind = name.rpartition(".")
            if f".{kind}" == DELTA:
                yield stem, tensor.astype(np.float32)
            elif f".{kind}" == UP:
                yield f"{stem}.weight", tensor.astype(np.float32) @ self.tensors[stem + DOWN].astype(np.float32)


def low_rank_tensors(module: str, down: np.ndarray, up: np.ndarray) -> dict[str, np.ndarray]:
    """Return the product `up @ down` of float32 (out, rank) and (rank, in) as an adapter's two tensors.

    Both are scaled to the same maximum: float16 keeps 11 bits only between 6e-5 and 65504.
    """
    max_down, max_up = float(np.abs(down).max()), float(np.abs(up).max())
    scale = np.float32(np.sqrt(max_up / max_down)) if max_down > 0 and max_up > 0 else np.float32(1)
    return {module + DOWN: (down * scale).astype(np.float16), module + UP: (up / scale).astype(np.float16)}


def difference_tensors(differences: dict[str, np.ndarray], rank: int) -> dict[str, np.ndarray]:
    """Return differences of parameters, float32 by parameter path, as an adapter's tensors.

    Every matrix `<module>.weight` is replaced by its best approximation of `rank` (Eckart and Young, 1936), which is much
    smaller and keeps most of what fine-tuning changed. Vectors, and matrices of no higher rank, are kept whole.
    """
    tensors: dict[str, np.ndarray] = {}
    for name, difference in differences.items():
        if difference.ndim != 2 or not name.endswith(".weight") or rank >= min(difference.shape):
            with np.errstate(over="ignore"):  # infinity, which `Adapter` refuses
                tensors[name + DELTA] = difference.astype(np.float16)
            continue
        left, values, right = np.linalg.svd(difference.astype(np.float64), full_matrices=False)
        root = np.sqrt(values[:rank])
        up, down = left[:, :rank] * root, root[:, None] * right[:rank]
        tensors |= low_rank_tensors(name.removesuffix(".weight"), down.astype(np.float32), up.astype(np.float32))
    return tensors
