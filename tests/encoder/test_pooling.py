from __future__ import annotations

import numpy as np
import pytest
import torch

from encoder.pooling import Pooling, pool, pool_all

HIDDEN = torch.arange(2 * 3 * 2, dtype=torch.float32).reshape(2, 3, 2)  # (n 2, tokens 3, width 2)
MASK = torch.tensor([[True, True, True], [True, True, False]])


@pytest.mark.parametrize(
    ("position", "expected"),
    [
        ("cls", [[0, 1], [6, 7]]),
        ("mean", [[2, 3], [7, 8]]),
        ("max", [[4, 5], [8, 9]]),
        ("last", [[4, 5], [8, 9]]),
        ("first_1", [[0, 1], [6, 7]]),
        ("first_3", [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 0, 0]]),
        ("first_4", [[0, 1, 2, 3, 4, 5, 0, 0], [6, 7, 8, 9, 0, 0, 0, 0]]),
    ],
)
def test_pool_reads_the_texts_own_tokens_only(position, expected):
    assert pool(HIDDEN, MASK, position).tolist() == expected


def test_max_of_negative_values_ignores_padding():
    assert pool(-HIDDEN - 1, MASK, "max").tolist() == [[-1, -2], [-7, -8]]


def test_layers_and_positions_are_concatenated_in_their_order():
    layers = (HIDDEN, HIDDEN + 100, HIDDEN + 200)
    pooled = Pooling(layers=(2, 0), positions=("cls", "mean"))(layers, MASK)
    assert pooled[0].tolist() == [200, 201, 202, 203, 0, 1, 2, 3]
    assert pooled.dtype == torch.float32


@pytest.mark.parametrize("position", ["cls", "mean", "max", "last", "first_2", "first_7"])
def test_dim_is_what_comes_out(position):
    pooling = Pooling(layers=(0, 1), positions=(position, "mean") if position != "mean" else ("mean",))
    assert pooling((HIDDEN, HIDDEN), MASK).shape == (2, pooling.dim(2))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_pooled_in_float32(dtype):
    hidden = torch.full((1, 3000, 1), 1.0).to(dtype)
    pooled = Pooling(layers=(0,))((hidden,), torch.ones(1, 3000, dtype=torch.bool))
    assert pooled.dtype == torch.float32
    assert np.isclose(pooled.item(), 1.0)


@pytest.mark.parametrize("position", ["median", "first_0", "first_", "first_k", ""])
def test_an_unknown_position_lists_the_right_ones(position):
    with pytest.raises(ValueError, match=r"choose from cls, mean, max, last, first_K"):
        Pooling(layers=(1,), positions=(position,))


@pytest.mark.parametrize("layers", [(), (1, 1), (-1,)])
def test_layers_must_be_distinct_and_there(layers):
    with pytest.raises(ValueError, match="layers"):
        Pooling(layers=layers)


@pytest.mark.parametrize("position", ["cls", "mean", "max", "last", "first_2", "first_7"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_without_padding_no_mask_is_needed(position, dtype):
    hidden = torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(0)).to(dtype)
    masked = pool(hidden.float(), torch.ones(4, 5, dtype=torch.bool), position)
    assert torch.equal(pool_all(hidden, position), masked)
