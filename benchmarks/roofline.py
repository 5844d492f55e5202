"""Count a model's operations, and measure what the same cores do in plain matrix products of its own shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch.nn.functional import linear


def layer_flops(tokens: int, width: int, inner: int) -> int:
    """Count the floating-point operations of one transformer layer on one text; a multiplication and an addition are two.

    Four products of the attention's projections, two of the feed-forward part (`inner` wide), and the two of the
    attention itself, over real tokens only: padding is a loss, not work.
    """
    return tokens * product_flops(width, inner) + 2 * 2 * tokens * tokens * width


def product_flops(width: int, inner: int) -> int:
    """Count the operations of one layer's matrix products with its weights, a token."""
    return 2 * (4 * width * width + 2 * width * inner)


def model_flops(token_counts: Iterable[int], layers: int, width: int, inner: int) -> int:
    """Count the operations of `layers` layers over texts of so many tokens each."""
    return layers * sum(layer_flops(int(tokens), width, inner) for tokens in token_counts)


def plain_products(
    batch_tokens: int, width: int, inner: int, dtype: torch.dtype, device: torch.device | str = "cpu"
) -> Callable[[], None]:
    """Return what runs one layer's four products on (batch_tokens, width) activations, and nothing else.

    On a GPU it returns when they are launched, not when they are done.
    """
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(device, dtype)

    outer, middle = random(batch_tokens, width), random(batch_tokens, inner)
    queries_keys_values, square = random(3 * width, width), random(width, width)
    up, down = random(inner, width), random(width, inner)

    @torch.inference_mode()
    def run() -> None:
        linear(outer, queries_keys_values)  # one product, as the encoder has it
        linear(outer, square)
        linear(outer, up)
        linear(middle, down)

    return run
