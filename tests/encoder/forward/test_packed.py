from __future__ import annotations

import numpy as np
import torch

from encoder.forward.packed import Packing


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
