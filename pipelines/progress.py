"""Show the progress of a run by listing the store, which works with every runner."""

from __future__ import annotations

import dataclasses
import datetime
import logging
import sys
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from heads import Head
from pipelines.command_line import logs
from transforms.encoded import Encoded, encoded_units, forget_encoded
from transforms.filesystem import files
from transforms.layout import Listing, PartName, codes_folder, labels_folder, parts_folder
from transforms.plan import Plan, rows_to_label
from transforms.store import Store

if TYPE_CHECKING:
    from tqdm import tqdm

_SECONDS_BETWEEN_LISTINGS = 0.5
_LISTING_SHARE = 0.05  # of the time; a folder of many files takes long to list
_SECONDS_BETWEEN_LINES = 30.0


@dataclasses.dataclass(frozen=True)
class Reached:
    """How far a run is: `done` of the total (bytes, or documents to label), and documents in the store or in work."""

    done: int
    documents: int


class Progress:
    """Draw a bar of what is done of a plan, documents/s and the time left, until `with` ends.

    The bar counts bytes of the shards while there is text to encode, else documents to label. Files and parts in the store
    tell what is done; what workers in this process have encoded of a block counts too, so the bar moves in a small job.
    Outside of terminals and notebooks, a line is printed every half minute.

    The rate counts from the first documents on: the time that it takes to start and to load the model is not part of it.
    """

    def __init__(self, store: Store, encoder: str, heads: Sequence[Head], plan: Plan, shown: bool = True) -> None:
        """Watch a plan that is carried out on a store."""
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
        self.reached = Reached(0, 0)
        self._speed = Speed()
        self._stop = threading.Event()
        self._completed = False
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Progress:
        if self._shown:
            forget_encoded()
            self.poll()
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._completed = kind is None
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self) -> None:
        from tqdm import tqdm

        terminal = _draws_bars() and not logs.is_json()
        printed = time.monotonic()
        bar = tqdm(desc="  0% ", total=self.total, unit="", disable=not terminal, bar_format="{desc}|{bar}| {unit}")
        pause = _SECONDS_BETWEEN_LISTINGS
        with bar:
            self._draw(bar)
            while not self._stop.wait(pause):
                began = time.monotonic()
                self.poll()
                pause = max(_SECONDS_BETWEEN_LISTINGS, (time.monotonic() - began) / _LISTING_SHARE)
                self._draw(bar)
                if not terminal and time.monotonic() - printed >= _SECONDS_BETWEEN_LINES:
                    printed = time.monotonic()
                    self._print("done")
            self.poll()
            self._draw(bar)
        if not self._completed and not terminal:
            self._print("done when the run was stopped")

    def _print(self, what: str) -> None:
        logs.write_message(
            f"{self.percent}% {what}" + ("" if self._stop.is_set() else self._rate_text()),
            f"{self.percent}% {what}",
            logging.INFO,
            percent=self.percent,
            documents=self.reached.documents,
            documents_per_second=self._speed.documents_per_second,
            seconds_left=self._speed.seconds_left(self.total),
        )

    def _draw(self, bar: tqdm) -> None:
        bar.n = self.reached.done
        bar.set_description_str(f"{self.percent:3}% ", refresh=False)
        if self._by_bytes:
            count = f"{bar.format_sizeof(self.reached.done, 'B', 1024)} of {bar.format_sizeof(self.total, 'B', 1024)}"
        else:
            count = f"{self.reached.done:,} of {self.total:,} documents"
        bar.unit = count + self._rate_text()
        bar.refresh()

    @property
    def percent(self) -> int:
        """Return how much is done; 100 only where the run has ended by itself."""
        share = 100 * self.reached.done // max(self.total, 1)
        return min(share, 100 if self._completed else 99)

    def _rate_text(self) -> str:
        """Return documents/s and the time left, as far as they are known."""
        if not self._speed.has_begun:
            return ", starting"
        if (rate := self._speed.documents_per_second) is None:
            return ""
        text = f", {rate:,.0f} documents/s"
        left = self._speed.seconds_left(self.total)
        return text if left is None or self._completed else f"{text}, {datetime.timedelta(seconds=round(left))} left"

    def poll(self) -> None:
        """List the store and update what is done."""
        done = documents = 0
        if self._by_bytes:
            listing = Listing(files.list_names(self._store.path(self._codes)))
            in_parts: dict[tuple[str, int], list[PartName]] = {}
            for part in map(PartName.parse, files.list_names(self._store.path(self._parts))):
                if part is not None:
                    in_parts.setdefault((part.shard, part.unit), []).append(part)
            in_work = encoded_units()
            for unit, unit_bytes in self._unit_bytes.items():
                there = listing.unit(*unit)
                documents_there = there.rows if there is not None else 0
                if there is not None and there.complete:
                    done, documents = done + unit_bytes, documents + documents_there
                    continue
                parts, encoded = in_parts.get(unit, ()), in_work.get(unit, Encoded())
                part_bytes = sum(part.source_bytes for part in parts)
                done += min(max(part_bytes, encoded.source_bytes), unit_bytes)
                documents += max(documents_there + sum(part.rows for part in parts), encoded.documents)
        elif self._labels is not None:
            listing = Listing(files.list_names(self._store.path(self._labels)))
            done = documents = sum(there.rows for unit in self._labelling if (there := listing.unit(*unit)) is not None)
        self.reached = Reached(max(done, self.reached.done), max(documents, self.reached.documents))
        self._speed.add(time.monotonic(), self.reached)


def _draws_bars() -> bool:
    """Return whether stderr is a terminal or a notebook."""
    return sys.stderr.isatty() or type(sys.stderr).__module__.startswith("ipykernel")


class Speed:
    """The rate of a run since its first documents. What it found when it began, as a resumed run does, counts for nothing."""

    def __init__(self) -> None:
        self._before: Reached | None = None
        self._first: tuple[float, Reached] | None = None
        self._last: tuple[float, Reached] | None = None

    def add(self, seconds: float, reached: Reached) -> None:
        """Add how far the run is at a time."""
        if self._before is None:
            self._before = reached
        if self._first is None and reached.documents > self._before.documents:
            self._first = (seconds, reached)
        self._last = (seconds, reached)

    @property
    def has_begun(self) -> bool:
        """Whether the first documents are done."""
        return self._first is not None

    @property
    def documents_per_second(self) -> float | None:
        """Return the documents/s; None before there are documents after the first."""
        rates = self._rates()
        return rates and rates[1]

    def seconds_left(self, total: int) -> float | None:
        """Return the time to the end at the speed so far; None where it is not known."""
        rates = self._rates()
        if rates is None or rates[0] <= 0 or self._last is None:
            return None
        return max(0, total - self._last[1].done) / rates[0]

    def _rates(self) -> tuple[float, float] | None:
        """Return what is done, and documents, per second."""
        if self._first is None or self._last is None or self._last[1].documents == self._first[1].documents:
            return None
        (began, first), (now, last) = self._first, self._last
        return (last.done - first.done) / (now - began), (last.documents - first.documents) / (now - began)
