"""Encode texts: tokenise, sort by length, batch by tokens, run the model, pool, cut to bits."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Iterator

import numpy as np
import torch

from encoder import bits as bit_packing
from encoder.base import Base
from encoder.bundle import Bundle
from encoder.choices import Precision
from encoder.forward import packed, transformer, varlen
from encoder.forward.model import choose_device, choose_precision, load_model
from encoder.memory import return_free_memory
from encoder.prefetch import ahead, cut_chunks
from encoder.projection import project
from encoder.tokenize import Tokenizer, Windows, rows_that_fit

# Padded tokens of one forward pass where nothing else is asked for: large enough to fill the device, small enough that
# activations stay in the processor's cache (CPU) or in memory (GPU).
DEFAULT_BATCH_TOKENS = {"cpu": 2048, "cuda": 65536, "mps": 16384}
CHUNK_BATCHES = 2  # batches' worth of tokens that are tokenised at a time, where that overlaps with the model

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Codes:
    """Hold the codes of n texts.

    Attributes:
        bits: (n, bits // 8) uint8, packed by `numpy.packbits`.
        n_tokens: (n,) int32, tokens the model read.
        truncated: (n,) bool, whether part of the text was not read.
        padded_tokens: tokens that went through the model, padding included; with `n_tokens.sum()` it gives the padding
            share.
    """

    bits: np.ndarray
    n_tokens: np.ndarray
    truncated: np.ndarray
    padded_tokens: int

    def __len__(self) -> int:
        return len(self.bits)


class Encoder:
    """Turn texts into codes with one model on one device. Made by `encoder.load`.

    Attributes:
        threads: so many batches run side by side on a processor: torch's number of threads when the encoder is loaded.
            Asked for again later, by a thread that is new, torch may give what another thread has set meanwhile.
    """

    def __init__(
        self,
        bundle: Bundle,
        device: str = "auto",
        precision: Precision = "auto",
        batch_tokens: int | None = None,
    ) -> None:
        self.bundle = bundle
        self.fingerprint = bundle.fingerprint
        self.bits = bundle.bits
        self.device = choose_device(device)
        self.dtype = choose_precision(precision, self.device)
        self.threads = torch.get_num_threads()
        self.batch_tokens = batch_tokens or DEFAULT_BATCH_TOKENS[self.device.type]
        base = bundle.find_base()
        self._pad_id = base.pad_id
        self._tokenizer = Tokenizer(
            base.folder, bundle.max_tokens, bundle.prefix, bundle.long_texts, bundle.overlap_tokens, self._pad_id
        )
        how = (max(bundle.pooling.layers), self.device, self.dtype, bundle.adapter)
        self._varlen = False
        self._transformer = self._load_transformer(base, how)
        self._model = None if self._transformer else load_model(base.folder, *how)
        if self._model is not None and self.device.type == "cuda":
            # It plans anew for every shape of batch; here nearly every batch has its own.
            torch.backends.cuda.enable_cudnn_sdp(False)
        self._ahead = self.device.type == "cuda"  # a processor has no core to spare for tokenising meanwhile
        self._thresholds = torch.from_numpy(bundle.thresholds).to(self.device)
        self._projection = None
        if bundle.projection is not None:
            self._projection = torch.from_numpy(bundle.projection).to(self.device)

    def _load_transformer(self, base: Base, how: tuple) -> transformer.Transformer | None:
        """Load what runs texts end to end, where that is possible; elsewhere they are padded."""
        if self.device.type != "cpu" and not varlen.suits(self.device, self.dtype):
            return None
        found = transformer.load(base.folder, base.config(), *how)
        if found is None:
            return None
        self._varlen = varlen.available(found.heads, found.head_size, self.device, self.dtype)
        return found if self._varlen or self.device.type == "cpu" else None

    def encode(self, texts: list[str]) -> Codes:
        """Encode n texts into `Codes` of n rows, in their order."""
        codes = self._encode_ahead(texts) if self._ahead else self._encode_at_once(texts)
        return_free_memory()
        return codes

    def _encode_at_once(self, texts: list[str]) -> Codes:
        """Encode on a device that computes while it is called."""
        windows = self._tokenizer(texts)
        ones = np.empty((len(texts), self.bits), bool)
        padded_tokens = 0
        if len(windows.text) == len(texts):  # one window a text: nothing has to be averaged, only bits leave the device
            for rows, features, batch_tokens in self._batches(windows):
                ones[rows] = (features > self._thresholds).cpu().numpy()
                padded_tokens += batch_tokens
        else:
            features, padded_tokens = self._average(windows, len(texts))
            np.greater(features, self.bundle.thresholds, out=ones)
        return Codes(bit_packing.pack(ones), windows.n_tokens, windows.truncated, padded_tokens)

    @torch.inference_mode()
    def _encode_ahead(self, texts: list[str]) -> Codes:
        """Encode on a device that computes by itself: threads tokenise the next chunk, bits come back once, at the end."""
        n_tokens, truncated = np.empty(len(texts), np.int32), np.empty(len(texts), bool)
        order = np.empty(len(texts), np.int64)  # the text of each row of `codes`
        codes = torch.empty((len(texts), self.bits // 8), dtype=torch.uint8, device=self.device)
        done = padded_tokens = 0
        most_tokens = self.bundle.max_tokens if self.bundle.long_texts == "truncate" else None
        chunks = cut_chunks(texts, CHUNK_BATCHES * self.batch_tokens, most_tokens)
        with contextlib.closing(ahead(lambda chunk: self._tokenizer([texts[i] for i in chunk]), chunks)) as tokenised:
            for chunk, windows in zip(chunks, tokenised):
                n_tokens[chunk], truncated[chunk] = windows.n_tokens, windows.truncated
                for rows, features, batch_tokens in self._texts(windows, len(chunk)):
                    part = slice(done, done + len(rows))
                    order[part] = chunk[rows]
                    codes[part] = bit_packing.pack_tensor(features > self._thresholds)
                    done += len(rows)
                    padded_tokens += batch_tokens
        bits = np.empty(codes.shape, np.uint8)
        bits[order] = codes.cpu().numpy()
        return Codes(bits, n_tokens, truncated, padded_tokens)

    def features(self, texts: list[str]) -> np.ndarray:
        """Return what the thresholds cut: (n, bits) float32, after the projection where there is one."""
        return self._average(self._tokenizer(texts), len(texts))[0]

    def _average(self, windows: Windows, n: int) -> tuple[np.ndarray, int]:
        """Average each text's windows: features (n, bits) float32, and the tokens that went through the model."""
        of_window = np.empty((len(windows.text), self.bits), np.float32)
        padded_tokens = 0
        for rows, features, batch_tokens in self._batches(windows):
            of_window[rows] = features.cpu().numpy()
            padded_tokens += batch_tokens
        if len(windows.text) == n:
            return of_window, padded_tokens
        first = np.searchsorted(windows.text, np.arange(n))
        counts = np.bincount(windows.text, minlength=n)[:, None]
        return np.add.reduceat(of_window, first, axis=0) / counts.astype(np.float32), padded_tokens

    def _texts(self, windows: Windows, n: int) -> Iterator[tuple[np.ndarray, torch.Tensor, int]]:
        """Run n texts: (their numbers, features (texts, bits) float32 on the device, tokens run), windows averaged."""
        if len(windows.text) == n:
            yield from self._batches(windows)
            return
        rows, features, batch_tokens = zip(*self._batches(windows))
        in_order = varlen.to_device(np.argsort(np.concatenate(rows)), self.device)
        borders = varlen.to_device(np.searchsorted(windows.text, np.arange(n + 1)), self.device)
        yield np.arange(n), varlen.average(torch.cat(features)[in_order], borders), sum(batch_tokens)

    def _batches(self, windows: Windows) -> Iterator[tuple[np.ndarray, torch.Tensor, int]]:
        """Run all windows, longest first: (their numbers, features (w, bits) float32 on the device, tokens run)."""
        order = np.argsort(-windows.lengths, kind="stable")
        if self.device.type == "cpu" and not self._ahead and self.threads > 1:
            yield from self._side_by_side(windows, order)
        else:
            yield from self._one_by_one(windows, order)

    def _side_by_side(self, windows: Windows, order: np.ndarray) -> Iterator[tuple[np.ndarray, torch.Tensor, int]]:
        """Run batches side by side, each on one thread: none waits for the others after every operation."""
        lengths, batches, done = windows.lengths[order], [], 0
        while done < len(order):
            batches.append(order[done : done + self._batch_rows(lengths[done:])])
            done += len(batches[-1])

        def run(rows: np.ndarray) -> tuple[torch.Tensor, int]:
            torch.set_num_threads(1)  # of this thread, and of threads to come
            return self._run(windows, rows)

        before = torch.get_num_threads()
        try:
            with contextlib.closing(ahead(run, batches, self.threads)) as results:
                for rows, found in zip(batches, results):
                    yield rows, *found
        finally:
            torch.set_num_threads(before)

    def _one_by_one(self, windows: Windows, order: np.ndarray) -> Iterator[tuple[np.ndarray, torch.Tensor, int]]:
        """Run one batch after the other, smaller ones once one has been too large for the device's memory."""
        lengths, done = windows.lengths[order], 0
        while done < len(order):
            rows = order[done : done + self._batch_rows(lengths[done:])]
            try:
                features, batch_tokens = self._run(windows, rows)
            except RuntimeError as error:
                if len(rows) == 1 or not _is_out_of_memory(error):
                    raise
                # From here on for good: what did not fit once will not fit next time.
                longest = int(lengths[done])
                tokens = int(lengths[done : done + len(rows)].sum()) if self._transformer else longest * len(rows)
                self.batch_tokens = max(tokens // 2, longest)
                if self.device.type != "cpu":
                    getattr(torch, self.device.type).empty_cache()
                _log.warning("out of memory on %s: going on with batches of %d tokens", self.device, self.batch_tokens)
                continue
            yield rows, features, batch_tokens
            done += len(rows)

    def _batch_rows(self, lengths: np.ndarray) -> int:
        """Return how many of the windows of `lengths` tokens, longest first, fit into one batch: at least one."""
        most_tokens = self.batch_tokens
        if self._ahead:  # batches of like size: a small last one takes as many launches as a full one
            tokens = int(lengths.sum())
            most_tokens = -(-tokens // -(-tokens // most_tokens))
        if self._transformer:
            # No more windows than tokens fit, so that many need to be looked at.
            return max(1, int(np.searchsorted(np.cumsum(lengths[:most_tokens]), most_tokens, side="right")))
        return rows_that_fit(int(lengths[0]), most_tokens)

    @torch.inference_mode()
    def _run(self, windows: Windows, rows: np.ndarray) -> tuple[torch.Tensor, int]:
        """Run one batch of windows, longest first: features (w, bits) float32 on the device, and the tokens run."""
        if self._transformer:
            pooled, tokens = self._run_packed(self._transformer, windows.joined(rows), windows.lengths[rows])
        else:
            ids, mask = (varlen.to_device(array, self.device) for array in windows.batch(rows, self._pad_id))
            hidden = self._model(input_ids=ids, attention_mask=mask.long(), output_hidden_states=True).hidden_states
            pooled, tokens = self.bundle.pooling(hidden, mask), ids.numel()
        return project(pooled, self._projection), tokens

    def _run_packed(
        self, model: transformer.Transformer, ids: np.ndarray, lengths: np.ndarray
    ) -> tuple[torch.Tensor, int]:
        """Run windows of `lengths` (w,) tokens that lie end to end: pooled (w, dim) float32, and the tokens run."""
        pooling = self.bundle.pooling
        if self._varlen:
            batch = varlen.Batch.of(ids, lengths, model.padding, self.device)
            hidden = model(batch.ids, batch.positions, varlen.attention(batch))
            return varlen.pool(pooling, hidden, batch.borders), len(ids)
        packing = packed.Packing.of(lengths)
        positions = transformer.count_positions(ids, lengths, model.padding)
        hidden = model(torch.from_numpy(ids), torch.from_numpy(positions), packed.attention(packing))
        return packed.pool(pooling, hidden, packing), len(ids)


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Whether a device's memory was too small; MPS has no class of error for it."""
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error)
