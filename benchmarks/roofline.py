"""Count the operations of a model, and run plain matrix products of its shapes for comparison."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch.nn.functional import linear


def layer_flops(tokens: int, width: int, inner: int) -> int:
    """Return the floating-point operations of one transformer layer on one text. A multiply-add counts as two.

    These are four products of the attention's projections, two of the feed-forward part (`inner` wide), and two of the
    attention itself. Padding does not count.
    """
    return tokens * product_flops(width, inner) + 2 * 2 * tokens * tokens * width


def product_flops(width: int, inner: int) -> int:
    """Return the operations per token of one layer's matrix products with its weights."""
    return 2 * (4 * width * width + 2 * width * inner)


def model_flops(token_counts: Iterable[int], layers: int, width: int, inner: int) -> int:
    """Return the operations of `layers` layers on texts with these token counts."""
    return layers * sum(layer_flops(int(tokens), width, inner) for tokens in token_counts)


def plain_products(
    batch_tokens: int, width: int, inner: int, dtype: torch.dtype, device: torch.device | str = "cpu"
) -> Callable[[], None]:
    """Return a function that runs only the four products of one layer, on activations (batch_tokens, width).

    On a GPU the function returns when the products are launched, not when they are finished.
    """
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(device, dtype)

    outer, middle = random(batch_tokens, width), random(batch_tokens, inner)
    queries_keys_values, square = random(3 * width, width), random(width, width)
    up, down = random(inner, width), random(width, inner)

    @torch.inference_mode()
    def run() -> None:
        linear(outer, queries_keys_values)  # one product, as in the encoder
        linear(outer, square)
        linear(outer, up)
        linear(middle, down)

    return run
