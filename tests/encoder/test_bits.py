from __future__ import annotations

import numpy as np
import pytest
import torch

from encoder import bits


def test_first_dimension_is_the_highest_bit_of_the_first_byte():
    ones = np.zeros((1, 16), bool)
    ones[0, 0] = ones[0, 9] = True
    assert bits.pack(ones).tolist() == [[0b10000000, 0b01000000]]


@pytest.mark.parametrize("width", [8, 64, 1152])
def test_unpack_undoes_pack(width):
    ones = np.random.default_rng(0).random((7, width)) > 0.5
    assert np.array_equal(bits.unpack(bits.pack(ones)), ones)


def test_pack_of_no_rows_keeps_the_width():
    assert bits.pack(np.zeros((0, 24), bool)).shape == (0, 3)


@pytest.mark.parametrize("shape", [(3, 7), (8,), (2, 3, 8)])
def test_pack_refuses_what_is_not_rows_of_whole_bytes(shape):
    with pytest.raises(ValueError, match="multiple of 8"):
        bits.pack(np.zeros(shape, bool))


def test_unpack_refuses_another_dtype():
    with pytest.raises(ValueError, match="uint8"):
        bits.unpack(np.zeros((2, 3), np.int64))


def test_differing_share_counts_bits_not_bytes():
    a = np.array([[0b11110000, 0]], np.uint8)
    b = np.array([[0b11110001, 0]], np.uint8)
    assert bits.hamming_distance(a, b) == 1 / 16
    assert bits.hamming_distance(a, a) == 0
    with pytest.raises(ValueError, match="shapes"):
        bits.hamming_distance(a, b[:, :1])


def test_a_tensor_is_packed_as_an_array_is():
    ones = np.random.default_rng(3).random((50, 24)) < 0.5
    packed = bits.pack_tensor(torch.from_numpy(ones))
    assert packed.dtype == torch.uint8
    assert np.array_equal(packed.numpy(), np.packbits(ones, axis=1))
    assert bits.pack_tensor(torch.ones(1, 8, dtype=torch.bool)).tolist() == [[255]]
    assert bits.pack_tensor(torch.zeros(0, 16, dtype=torch.bool)).shape == (0, 2)


@pytest.mark.parametrize("shape", [(8,), (2, 7)])
def test_a_tensor_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match="multiple of 8"):
        bits.pack_tensor(torch.zeros(shape, dtype=torch.bool))
