"""Turn texts into windows of token ids with a fast tokenizer."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from encoder.base import EncoderError
from encoder.choices import LongTexts

if TYPE_CHECKING:
    import tokenizers


@dataclasses.dataclass(frozen=True)
class Windows:
    """The token ids of many texts; a text is one window, or several under the policy "windows".

    Attributes:
        ids: (tokens,) int32, the token ids of all windows, end to end.
        starts: (windows + 1,) int64, the index in `ids` at which each window starts.
        text: (windows,) int64, the number of each window's text, ascending.
        n_tokens: (n,) int32, tokens of each text that the model reads.
        truncated: (n,) bool, whether part of the text is not read.
    """

    ids: np.ndarray
    starts: np.ndarray
    text: np.ndarray
    n_tokens: np.ndarray
    truncated: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """Return the tokens of each window, (windows,) int64."""
        return np.diff(self.starts)

    def batch(self, windows: np.ndarray, pad_id: int) -> tuple[np.ndarray, np.ndarray]:
        """Return some windows side by side: ids (w, tokens) int64 padded at the right, and their mask (w, tokens) bool."""
        lengths = self.lengths[windows]
        mask = np.arange(lengths.max()) < lengths[:, None]
        ids = np.full(mask.shape, pad_id, np.int64)
        ids[mask] = self.joined(windows)
        return ids, mask

    def joined(self, windows: np.ndarray) -> np.ndarray:
        """Return some windows end to end: ids (their tokens,) int64."""
        lengths = self.lengths[windows]
        # Of each window, from its place in the result to its place in `ids`.
        shift = self.starts[windows] - (np.cumsum(lengths) - lengths)
        return self.ids[np.repeat(shift, lengths) + np.arange(lengths.sum())].astype(np.int64)


def rows_that_fit(longest_tokens: int, batch_tokens: int) -> int:
    """Return how many rows, padded to the longest, fit into a batch of `batch_tokens`: at least one."""
    return max(1, batch_tokens // longest_tokens)


# Characters that are tokenised at once. An encoding takes a hundred bytes per token, truncated tokens included: 4 MiB of long
# texts at once would take 120 MB.
SLICE_CHARACTERS = 1 << 18


class Tokenizer:
    """A bundle's tokenizer, with its prefix, length limit and policy for long texts."""

    def __init__(
        self, folder: Path, max_tokens: int, prefix: str, long_texts: LongTexts, overlap_tokens: int, pad_id: int = 0
    ) -> None:
        self._empty = [pad_id]  # for a text without tokens, if the tokenizer adds no special tokens
        self._prefix = prefix
        self._windows = long_texts == "windows"
        self._tokenizer = _load(folder)
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens, stride=overlap_tokens if self._windows else 0)

    def __call__(self, texts: list[str]) -> Windows:
        """Tokenise a batch of texts.

        Raises:
            EncoderError: a text is not valid Unicode, such as half an emoji.
        """
        if self._prefix:
            texts = [self._prefix + text for text in texts]
        parts: list[np.ndarray] = []  # Python's integers of all texts at once would take nine times the memory
        sizes: list[int] = []
        text_of: list[int] = []
        truncated = np.zeros(len(texts), bool)
        numbers = itertools.count()
        for part in slices(texts):
            ids: list[list[int]] = []
            for encoding, number in zip(self._encode(part), numbers):
                ids.append(encoding.ids or self._empty)
                text_of.append(number)
                if rest := encoding.overflowing:
                    if self._windows:
                        ids.extend(window.ids for window in rest)
                        text_of.extend([number] * len(rest))
                    else:
                        truncated[number] = True
            sizes += map(len, ids)
            parts.append(np.fromiter(itertools.chain.from_iterable(ids), np.int32))
        lengths = np.asarray(sizes, np.int64)
        text = np.asarray(text_of, np.int64)
        return Windows(
            ids=np.concatenate([np.empty(0, np.int32), *parts]),
            starts=np.concatenate([[0], np.cumsum(lengths)]),
            text=text,
            n_tokens=np.bincount(text, weights=lengths, minlength=len(texts)).astype(np.int32),
            truncated=truncated,
        )

    def _encode(self, texts: list[str]) -> list[tokenizers.Encoding]:
        try:
            return self._tokenizer.encode_batch_fast(texts)
        except TypeError:
            for text in texts:
                try:
                    text.encode()
                except UnicodeEncodeError as error:
                    raise EncoderError(f"a text cannot be encoded: {error}; it begins with {text[:40]!r}") from None
            raise


def slices(texts: list[str], characters: int = SLICE_CHARACTERS) -> Iterator[list[str]]:
    """Split texts into runs of at most `characters`, each of at least one text."""
    start, length = 0, 0
    for end, text in enumerate(texts):
        if end > start and length + len(text) > characters:
            yield texts[start:end]
            start, length = end, 0
        length += len(text)
    if texts:
        yield texts[start:]


def _load(folder: Path) -> tokenizers.Tokenizer:
    import tokenizers

    path = folder / "tokenizer.json"
    if path.exists():
        try:
            return tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises no class of its own
            raise EncoderError(f"{path} cannot be read: {error}") from None
    from transformers import AutoTokenizer  # converts the files of a slow tokenizer; takes seconds to import

    tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True, trust_remote_code=False)
    if not tokenizer.is_fast:
        raise EncoderError(f"the tokenizer in {folder} has no fast version")
    return tokenizer.backend_tokenizer
