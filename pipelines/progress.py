"""Show the progress of a run by listing the store, which works with every runner."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from types import TracebackType

from heads import Head
from transforms.filesystem import files
from transforms.layout import Listing, PartName, codes_folder, labels_folder, parts_folder
from transforms.plan import Plan, rows_to_label
from transforms.store import Store

_SECONDS_BETWEEN_LISTINGS = 0.5
_LISTING_SHARE = 0.05  # of the time; a folder of many files takes long to list
_SECONDS_BETWEEN_LINES = 30.0


class Progress:
    """A progress bar with documents/s and the time left, as a context manager.

    The bar counts bytes of the shards while there is text to encode, else documents to label. Outside of terminals and
    notebooks, a line is printed every half minute.
    """

    def __init__(self, store: Store, encoder: str, heads: Sequence[Head], plan: Plan, shown: bool = True) -> None:
        """Show the progress of a plan on a store."""
        self._store = store
        self._shown = shown and files.is_local(store.root)
        self._unit_bytes = plan.unit_bytes
        self._codes = codes_folder(encoder)
        self._parts = parts_folder(encoder)
        tasks = [task for unit in plan.to_label for task in unit.tasks]
        slowest = max(heads, key=lambda head: tasks.count(head.task), default=None) if tasks else None
        self._labels = labels_folder(slowest.task, slowest.fingerprint) if slowest else None
        self._labelling = {(unit.shard, unit.index) for unit in plan.to_label}
        self._by_bytes = bool(plan.unit_bytes)
        self.total = sum(plan.unit_bytes.values()) if self._by_bytes else rows_to_label(plan.to_label)
        self.done = 0  # of the total
        self.documents = 0
        self._documents_before = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Progress:
        if self._shown:
            self.poll()
            self._documents_before = self.documents
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

        terminal = sys.stderr.isatty() or type(sys.stderr).__module__.startswith(
            "ipykernel"
        )  # a notebook draws bars, too
        started = printed = time.monotonic()
        count = "{n_fmt}B of {total_fmt}B" if self._by_bytes else "{n_fmt} of {total_fmt} documents"
        bar = tqdm(
            total=self.total,
            initial=self.done,
            unit_scale=self._by_bytes,
            unit_divisor=1024,
            disable=not terminal,
            bar_format="{percentage:3.0f}% |{bar}| " + count + "{postfix}, {remaining} left",
        )
        pause = _SECONDS_BETWEEN_LISTINGS
        with bar:
            while not self._stop.wait(pause):
                began = time.monotonic()
                self.poll()
                pause = max(_SECONDS_BETWEEN_LISTINGS, (time.monotonic() - began) / _LISTING_SHARE)
                rate = (self.documents - self._documents_before) / (time.monotonic() - started)
                bar.n = self.done
                bar.set_postfix_str(f"{rate:,.0f} documents/s", refresh=True)
                if not terminal and time.monotonic() - printed >= _SECONDS_BETWEEN_LINES:
                    printed = time.monotonic()
                    line = f"{self.done / max(self.total, 1):.0%} done, {rate:,.0f} documents/s"
                    print(line, file=sys.stderr, flush=True)
            self.poll()
            bar.n = self.done
            bar.refresh()

    def poll(self) -> None:
        """List the store and update `done` and `documents`."""
        done = documents = 0
        if self._by_bytes:
            listing = Listing(files.list_names(self._store.path(self._codes)))
            part_bytes: dict[tuple[str, int], int] = {}
            for part in map(PartName.parse, files.list_names(self._store.path(self._parts))):
                if part is not None and (unit := (part.shard, part.unit)) in self._unit_bytes:
                    part_bytes[unit] = part_bytes.get(unit, 0) + part.source_bytes
                    documents += 0 if listing.is_complete(*unit) else part.rows
            for unit, unit_bytes in self._unit_bytes.items():
                if (there := listing.unit(*unit)) is not None:
                    documents += there.rows
                    if there.complete:
                        done += unit_bytes
                        continue
                done += min(part_bytes.get(unit, 0), unit_bytes)
        elif self._labels is not None:
            listing = Listing(files.list_names(self._store.path(self._labels)))
            done = documents = sum(there.rows for unit in self._labelling if (there := listing.unit(*unit)) is not None)
        self.done, self.documents = max(done, self.done), max(documents, self.documents)
