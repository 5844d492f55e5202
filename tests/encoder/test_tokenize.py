"""Tokenise many texts in slices, so that memory does not grow with a block."""

from __future__ import annotations

import numpy as np
import pytest

from encoder import EncoderError, tokenize
from encoder.tokenize import Tokenizer, slices
from tests.conftest import random_texts


@pytest.mark.parametrize("characters", [1, 5, 12, 1000])
def test_slices_are_all_texts_in_order_and_none_is_larger_than_asked_for(characters):
    texts = ["abc", "", "defgh", "i", "a text that is longer than most", "", "jk"]
    found = list(slices(texts, characters))
    assert [text for some in found for text in some] == texts
    assert all(some and (len(some) == 1 or sum(map(len, some)) <= characters) for some in found)


def test_half_an_emoji_is_refused_by_name(tiny_base):
    with pytest.raises(EncoderError, match="surrogates not allowed; it begins with 'bad "):
        Tokenizer(tiny_base, 16, "", "truncate", 0)(["good", "bad \ud83d"])


def test_no_texts_are_no_slices():
    assert list(slices([])) == []


@pytest.mark.parametrize("long_texts", ["truncate", "windows"])
def test_slices_give_the_windows_of_all_texts_at_once(tiny_base, monkeypatch, long_texts):
    texts = random_texts(60, seed=3, longest=60)
    tokenizer = Tokenizer(tiny_base, 16, "a ", long_texts, 4)
    whole = tokenizer(texts)
    assert whole.truncated.any() or long_texts == "windows"
    most = []
    encode = tokenizer._tokenizer.encode_batch_fast

    class Counting:
        def encode_batch_fast(self, some):
            most.append(len(some))
            return encode(some)

    monkeypatch.setattr(tokenize, "slices", lambda texts: slices(texts, 300))
    tokenizer._tokenizer = Counting()
    sliced = tokenizer(texts)
    assert len(most) > 5
    assert max(most) < len(texts)
    for name in ("ids", "starts", "text", "n_tokens", "truncated"):
        assert np.array_equal(getattr(sliced, name), getattr(whole, name))
