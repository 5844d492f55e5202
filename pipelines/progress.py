"""Show how far a run is by listing the store: that works whatever runner does the work."""

from __future__ import annotations

import os
import sys
import threading
import time
from types import TracebackType

from transforms.filesystem import files
from transforms.layout import BlockName, codes_folder, labels_folder, read_metadata
from transforms.plan import Plan
from transforms.store import Store

_SECONDS_BETWEEN_LISTINGS = 0.5
_LISTING_SHARE = 0.05  # of the time; a folder of many blocks takes long to list
_SECONDS_BETWEEN_LINES = 30.0
_GUESSED_BYTES_A_ROW = 150
_MOST_OF_A_UNIT = 0.95


class Progress:
    """Draw a bar of blocks done of planned, documents/s and time left, until `with` ends.

    How many blocks a unit will give is not known before it is read: the plan's bytes are set against the bytes of the
    blocks that are done. Without a terminal, a line is printed every half minute.
    """

    def __init__(self, store: Store, encoder: str, heads: dict[str, str], plan: Plan, shown: bool = True) -> None:
        """Watch `plan` on `store`; `heads` are fingerprints by task."""
        self._store = store
        self._shown = shown and files.is_local(store.root)
        self._encoding = {(unit.shard, unit.index) for unit in plan.to_encode}
        self._bytes_planned = sum(plan.unit_bytes.values())
        self._codes_folder = codes_folder(encoder)
        self._labelling = {(unit.shard, unit.index) for unit in plan.to_label}
        self._label_blocks_planned = sum(unit.coded_blocks for unit in plan.to_label)
        tasks = [task for unit in plan.to_label for task in unit.tasks]
        slowest = max(set(tasks), key=tasks.count) if tasks else None
        self._labels_folder = labels_folder(slowest, heads[slowest]) if slowest else None
        self._plan = plan
        self._shards = {shard for shard, _ in self._encoding | self._labelling}  # what lies there of others is not kept
        self._counted: set[str] = set()
        self._text_bytes: dict[tuple[str, int], int] = {}
        self._finished: set[tuple[str, int]] = set()
        self._documents = self._blocks_done = self._coded_blocks = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Progress:
        if self._shown:
            self._look(first=True)
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self) -> None:
        from tqdm import tqdm

        terminal = sys.stderr.isatty()
        started = said = time.monotonic()
        bar = tqdm(
            total=self._planned_blocks(),
            initial=self._blocks_done,
            unit="block",
            disable=not terminal,
            bar_format="{percentage:3.0f}% |{bar}| {n_fmt} of {total_fmt} blocks{postfix}, {remaining} left",
        )
        pause = _SECONDS_BETWEEN_LISTINGS
        with bar:
            while not self._stop.wait(pause):
                began = time.monotonic()
                self._look()
                pause = max(_SECONDS_BETWEEN_LISTINGS, (time.monotonic() - began) / _LISTING_SHARE)
                rate = self._documents / (time.monotonic() - started)
                bar.total, bar.n = self._planned_blocks(), self._blocks_done
                bar.set_postfix_str(f"{rate:,.0f} documents/s", refresh=True)
                if not terminal and time.monotonic() - said >= _SECONDS_BETWEEN_LINES:
                    said = time.monotonic()
                    blocks = f"{self._blocks_done} of about {self._planned_blocks()} blocks"
                    print(f"{blocks}, {rate:,.0f} documents/s", file=sys.stderr, flush=True)
            self._look()
            bar.total = bar.n = self._blocks_done
            bar.refresh()

    def _look(self, first: bool = False) -> None:
        """Count blocks that have come since; those of the first look are done but make no rate."""
        if self._encoding:
            for name in files.list_names(self._store.path(self._codes_folder)):
                self._count(self._codes_folder, name, self._encoding, first)
        if self._labels_folder:
            for name in files.list_names(self._store.path(self._labels_folder)):
                self._count(self._labels_folder, name, self._labelling, first)

    def _count(self, folder: str, name: str, wanted: set[tuple[str, int]], first: bool) -> None:
        if name.partition(".")[0] not in self._shards or (key := os.path.join(folder, name)) in self._counted:
            return
        self._counted.add(key)
        block = BlockName.parse(name)
        if block is None or (block.shard, block.unit) not in wanted:
            return
        try:
            schema, rows = self._store.read_schema(folder, block)
            text_bytes = read_metadata(schema)["text_bytes"] if folder == self._codes_folder else 0
        except (OSError, ValueError, KeyError):  # damaged, or gone: the run says so, not the bar
            return
        self._blocks_done += 1
        if folder == self._codes_folder:
            unit = (block.shard, block.unit)
            self._coded_blocks += 1
            self._text_bytes[unit] = self._text_bytes.get(unit, 0) + text_bytes
            if block.last:
                self._finished.add(unit)
        if not first:
            self._documents += rows

    def _planned_blocks(self) -> int:
        if not self._bytes_planned:
            return self._label_blocks_planned
        done = sum(self._bytes_done(unit) for unit in self._text_bytes)
        rules = self._store.rules
        guess = min(rules.block_text_bytes, rules.block_rows * _GUESSED_BYTES_A_ROW)
        bytes_a_block = done / self._coded_blocks if done else guess
        rest = max(self._bytes_planned - done, 0) / bytes_a_block
        unread = len(self._encoding) - len(self._text_bytes)
        labels_left = max(self._label_blocks_planned - (self._blocks_done - self._coded_blocks), 0)
        return self._blocks_done + max(round(rest), unread) + labels_left

    def _bytes_done(self, unit: tuple[str, int]) -> float:
        """Guess how many of a unit's bytes are done: its text so far, which is more where it was compressed."""
        whole = self._plan.unit_bytes[unit]
        return whole if unit in self._finished else min(self._text_bytes[unit], _MOST_OF_A_UNIT * whole)
