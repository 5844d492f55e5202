"""Encode texts: tokenise, sort by length, batch by tokens, run the model, project, binarise, pack bits."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Generator, Iterator

import numpy as np
import torch

from encoder.bits import pack_tensor
from encoder.bundle import Bundle
from encoder.choices import Precision
from encoder.forward.load import load_runner
from encoder.forward.memory import return_free_memory
from encoder.forward.model import choose_device, choose_precision
from encoder.forward.runner import to_device
from encoder.forward.varlen import average_segments
from encoder.prefetch import prefetch, split_into_chunks
from encoder.projection import project
from encoder.tokenize import Tokenizer, Windows

# Default tokens of a batch, padding included: enough to occupy the device, few enough that activations stay in the cache of a
# processor or in the memory of a GPU.
DEFAULT_BATCH_TOKENS = {"cpu": 2048, "cuda": 65536, "mps": 16384}
CHUNK_BATCHES = 2  # batches per chunk, where chunks are tokenised while the device computes

TOKENS_PER_RETURN = 100_000  # between two returns of free memory: these take longer the more memory a process holds
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Codes:
    """The codes of n texts.

    Attributes:
        bits: (n, bits // 8) uint8, packed by `numpy.packbits`.
        n_tokens: (n,) int32, tokens of each text that the model read.
        truncated: (n,) bool, whether the end of the text was not read.
        padded_tokens: tokens that went through the model, padding included; `n_tokens.sum()` are without padding.
    """

    bits: np.ndarray
    n_tokens: np.ndarray
    truncated: np.ndarray
    padded_tokens: int

    def __len__(self) -> int:
        return len(self.bits)


class Encoder:
    """An encoder on one device that turns texts into codes. `encoder.load` makes it.

    Attributes:
        runner: the base model, see `encoder.forward.runner`.
        batch_tokens: maximum tokens of a batch, padding included; lower after a batch has exceeded the device's memory.
        threads: batches that run at the same time on a processor: torch's number of threads when the encoder is loaded. A new
            thread that asks torch later may get a number that another thread has set meanwhile.
    """

    def __init__(
        self,
        bundle: Bundle,
        device: str = "auto",
        precision: Precision = "auto",
        batch_tokens: int | None = None,
    ) -> None:
        """Load the base model. Arguments and errors are those of `encoder.load`."""
        self.bundle = bundle
        self.fingerprint = bundle.fingerprint
        self.bits = bundle.bits
        self.device = choose_device(device)
        self.dtype = choose_precision(precision, self.device)
        self.threads = torch.get_num_threads()
        self._tokens_since_return = 0
        self.batch_tokens = batch_tokens or DEFAULT_BATCH_TOKENS[self.device.type]
        base = bundle.find_base()
        self._tokenizer = Tokenizer(
            base.folder, bundle.max_tokens, bundle.prefix, bundle.long_texts, bundle.overlap_tokens, base.pad_id
        )
        self.runner = load_runner(base, bundle.pooling, bundle.adapter, self.device, self.dtype)
        # A GPU computes while Python continues: meanwhile threads tokenise. A processor has no core to spare for them.
        self._is_asynchronous = self.device.type == "cuda"
        self._thresholds = torch.from_numpy(bundle.thresholds).to(self.device)
        self._projection = None if bundle.projection is None else torch.from_numpy(bundle.projection).to(self.device)

    @torch.inference_mode()
    def encode(self, texts: list[str], report: Callable[[int], None] | None = None) -> Codes:
        """Encode n texts into `Codes` of n rows, in their order.

        Args:
            report: called after each batch with the number of texts that are encoded by then.

        Raises:
            EncoderError: a text is not valid Unicode.
        """
        n_tokens, truncated = np.empty(len(texts), np.int32), np.empty(len(texts), bool)
        # Codes stay on the device, in the order of computation: the one copy at the end is the only wait for a GPU.
        codes = torch.empty((len(texts), self.bits // 8), dtype=torch.uint8, device=self.device)
        text_of_code = np.empty(len(texts), np.int64)
        done = padded_tokens = 0
        with contextlib.closing(self._tokenize(texts)) as chunks:
            for chunk, windows in chunks:
                n_tokens[chunk], truncated[chunk] = windows.n_tokens, windows.truncated
                for rows, features, batch_tokens in self._text_features(windows, len(chunk)):
                    batch = slice(done, done + len(rows))
                    codes[batch] = pack_tensor(features > self._thresholds)
                    text_of_code[batch] = chunk[rows]
                    done += len(rows)
                    padded_tokens += batch_tokens
                    if report is not None:
                        report(done)
        bits = np.empty(codes.shape, np.uint8)
        bits[text_of_code] = codes.cpu().numpy()
        self._tokens_since_return += padded_tokens
        if self._tokens_since_return >= TOKENS_PER_RETURN:
            return_free_memory()
            self._tokens_since_return = 0
        return Codes(bits, n_tokens, truncated, padded_tokens)

    @torch.inference_mode()
    def features(self, texts: list[str], progress: Callable[[int], object] | None = None) -> np.ndarray:
        """Return the values that `encode` compares with the thresholds: (n, bits) float32, projected if the bundle projects.

        Args:
            progress: is called after each batch with its number of texts.
        """
        features = np.empty((len(texts), self.bits), np.float32)
        for rows, batch_features, _ in self._text_features(self._tokenizer(texts), len(texts)):
            features[rows] = batch_features.cpu().numpy()
            if progress:
                progress(len(rows))
        return features

    def _tokenize(self, texts: list[str]) -> Generator[tuple[np.ndarray, Windows], None, None]:
        """Yield chunks of texts: their numbers (c,) int64 and their windows; threads tokenise ahead where that helps."""
        if not self._is_asynchronous:
            yield np.arange(len(texts)), self._tokenizer(texts)
            return
        max_tokens = self.bundle.max_tokens if self.bundle.long_texts == "truncate" else None
        chunks = split_into_chunks(texts, CHUNK_BATCHES * self.batch_tokens, max_tokens)
        tokenised = prefetch(lambda chunk: self._tokenizer([texts[number] for number in chunk]), chunks)
        with contextlib.closing(tokenised):
            yield from zip(chunks, tokenised)

    def _text_features(self, windows: Windows, n: int) -> Iterator[tuple[np.ndarray, torch.Tensor, int]]:
        """Yield the features of n texts: their numbers, (t, bits) float32 on the device, and the tokens computed.

        A text of several windows gets the mean of their features.
        """
        if len(windows.text) == n:  # each text is one window
            yield from self._window_features(windows)
            return
        features, padded_tokens = torch.empty((len(windows.text), self.bits), device=self.device), 0
        for rows, batch_features, batch_tokens in self._window_features(windows):
            features[to_device(rows, self.device)] = batch_features
            padded_tokens += batch_tokens
        borders = np.searchsorted(windows.text, np.arange(n + 1))  # (n + 1,) int64, the first window of each text
        yield np.arange(n), self._average(features, borders), padded_tokens

    def _average(self, features: torch.Tensor, borders: np.ndarray) -> torch.Tensor:
        """Average the features (w, bits) float32 of the windows between `borders` (n + 1,): (n, bits) float32."""
        if self._is_asynchronous:
            return average_segments(features, to_device(borders, self.device))
        # NumPy rounds in another way than torch: the codes of stores depend on it.
        sums = np.add.reduceat(features.cpu().numpy(), borders[:-1], axis=0)
        return torch.from_numpy(sums / np.diff(borders)[:, None].astype(np.float32)).to(self.device)

    def _window_features(self, windows: Windows) -> Iterator[tuple[np.ndarray, torch.Tensor, int]]:
        """Yield the features of batches of windows, longest first, as `_text_features` does of texts."""
        order = np.argsort(-windows.lengths, kind="stable")
        if self.device.type == "cpu" and not self._is_asynchronous and self.threads > 1:
            return self._run_in_threads(windows, order)
        return self._run_in_turn(windows, order)

    def _run_in_threads(self, windows: Windows, order: np.ndarray) -> Iterator[tuple[np.ndarray, torch.Tensor, int]]:
        """Run several batches at the same time, each on one thread, so that threads do not wait for each other's operations."""
        lengths, batches, done = windows.lengths[order], [], 0
        while done < len(order):
            batches.append(order[done : done + self._count_rows(lengths[done:])])
            done += len(batches[-1])

        def run(rows: np.ndarray) -> tuple[torch.Tensor, int]:
            torch.set_num_threads(1)  # of this thread and of threads that start later
            return self._run(windows, rows)

        threads_before = torch.get_num_threads()
        torch.set_num_threads(1)  # the caller packs features meanwhile: a second thread of its own would wait busily
        try:
            with contextlib.closing(prefetch(run, batches, self.threads)) as results:
                for rows, (features, batch_tokens) in zip(batches, results):
                    yield rows, features, batch_tokens
        finally:
            torch.set_num_threads(threads_before)

    def _run_in_turn(self, windows: Windows, order: np.ndarray) -> Iterator[tuple[np.ndarray, torch.Tensor, int]]:
        """Run one batch after the other; after one that exceeds the device's memory, batches are half as large."""
        lengths, done = windows.lengths[order], 0
        while done < len(order):
            rows = order[done : done + self._count_rows(lengths[done:])]
            try:
                features, batch_tokens = self._run(windows, rows)
            except RuntimeError as error:
                if len(rows) == 1 or not _is_out_of_memory(error):
                    raise
                self._halve_batches(lengths[done : done + len(rows)])
                continue
            yield rows, features, batch_tokens
            done += len(rows)

    def _halve_batches(self, lengths: np.ndarray) -> None:
        """Lower `batch_tokens` for good, after a batch of windows of `lengths` (w,) exceeded the device's memory."""
        self.batch_tokens = max(self.runner.count_tokens(lengths) // 2, int(lengths[0]))
        if self.device.type != "cpu":
            getattr(torch, self.device.type).empty_cache()
        _log.warning("out of memory on %s: continuing with batches of %d tokens", self.device, self.batch_tokens)

    def _count_rows(self, lengths: np.ndarray) -> int:
        """Return how many of the windows of `lengths` (w,), longest first, make the next batch: at least one."""
        max_tokens = self.batch_tokens
        if self._is_asynchronous:  # batches of similar size: a small last one takes as many launches as a full one
            tokens = int(lengths.sum())
            batches = -(-tokens // max_tokens)
            max_tokens = -(-tokens // batches)
        return self.runner.count_rows(lengths, max_tokens)

    @torch.inference_mode()  # which other threads do not inherit
    def _run(self, windows: Windows, rows: np.ndarray) -> tuple[torch.Tensor, int]:
        """Run one batch of windows, longest first: features (w, bits) float32 on the device, and the tokens computed."""
        features = project(self.runner.run(windows, rows), self._projection)
        return features, self.runner.count_tokens(windows.lengths[rows])


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Whether the device's memory was exceeded. MPS has no exception class of its own for it."""
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error)
