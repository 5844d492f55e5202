from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from encoder.forward.packed import VECTOR, Packing, attention


def test_texts_of_equal_length_side_by_side_are_one_run():
    packing = Packing.of(np.array([5, 5, 3, 2, 2, 2]))
    assert packing.runs == ((0, 2, 5), (10, 1, 3), (13, 3, 2))
    assert packing.tokens == 19


def test_runs_need_not_be_sorted():
    assert Packing.of(np.array([2, 3, 2])).runs == ((0, 1, 2), (2, 1, 3), (5, 1, 2))


def test_split_views_every_token_once_in_order():
    packed = torch.arange(38).view(19, 2)
    parts = Packing.of(np.array([5, 5, 3, 2, 2, 2])).split(packed)
    assert [tuple(part.shape) for part in parts] == [(2, 5, 2), (1, 3, 2), (3, 2, 2)]
    assert torch.equal(torch.cat([part.reshape(-1, 2) for part in parts]), packed)
    parts[0][0, 0] = -1  # a view: what is written there is written to the batch
    assert packed[0].tolist() == [-1, -1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_stays_within_a_text_whatever_its_length(dtype):
    lengths = [*range(2 * VECTOR + 1, 0, -1), 1, 1]
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(sum(lengths), 2, 8, generator=generator).to(dtype) for _ in range(3))
    attended = attention(Packing.of(np.array(lengths)))(query, key, value)
    for ours, *of_text in zip(*(tensor.split(lengths) for tensor in (attended, query, key, value))):
        alone = functional.scaled_dot_product_attention(*(tensor.double().transpose(0, 1) for tensor in of_text))
        tolerance = 1e-5 if dtype == torch.float32 else 0.03
        torch.testing.assert_close(ours.double(), alone.transpose(0, 1), rtol=tolerance, atol=tolerance)
