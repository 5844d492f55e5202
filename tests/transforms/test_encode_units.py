"""Units into files of codes: where files end, what a killed run left, what another run committed meanwhile."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pyarrow as pa
import pytest

import encoder
from tests.conftest import random_texts, store_files
from transforms.encode import EncodeOptions, _EncodeUnits
from transforms.filesystem import files
from transforms.layout import codes_folder, parts_folder, rejects_folder
from transforms.match import match_shards
from transforms.models import store_models
from transforms.options import ReadOptions
from transforms.plan import cut_shard
from transforms.store import Store, open_or_create_store
from transforms.tables import write_table
from transforms.unit import Unit

ROWS = 100  # 10 blocks of 10 rows; files of 30 rows or more


@pytest.fixture
def store(tmp_path, tiny_bundle) -> Store:
    return new_store(tmp_path / "store", tiny_bundle)


def new_store(folder: Path, tiny_bundle) -> Store:
    rules = {"block_rows": 10, "file_bytes": 30 * 8, "unit_bytes": 1 << 20}  # codes of 64 bits
    store = dataclasses.replace(open_or_create_store(str(folder), "/", rules, "test"), run_id="r")
    store_models(store, encoder.describe(str(tiny_bundle)), [])
    return store


@pytest.fixture
def unit(tmp_path) -> Unit:
    lines = random_texts(ROWS)
    lines[::7] = [""] * len(lines[::7])  # rejects
    (tmp_path / "a.txt").write_text("\n".join(lines) + "\n")
    (shard,) = match_shards([str(tmp_path / "a.txt")], str(tmp_path), ReadOptions())
    ((start, stop, _),) = cut_shard(shard, 1 << 20)
    return Unit.of(shard, 0, 1, start, stop, ("t",))


@pytest.fixture
def fingerprint(tiny_bundle) -> str:
    return encoder.describe(str(tiny_bundle)).fingerprint


def worker_of(store: Store, fingerprint: str, part_seconds: float = 0.0) -> _EncodeUnits:
    worker = _EncodeUnits(store, ReadOptions(), fingerprint, EncodeOptions(part_seconds=part_seconds))
    worker.setup()
    return worker


def encode(store: Store, fingerprint: str, unit: Unit, part_seconds: float = 0.0) -> list[str]:
    """Encode a unit; return the names of the files that flow on."""
    return [str(file.name) for file in worker_of(store, fingerprint, part_seconds).process(unit)]


def killed_after(store: Store, fingerprint: str, unit: Unit, blocks: int, monkeypatch) -> None:
    """Encode a unit by a worker that dies after so many blocks."""
    worker = worker_of(store, fingerprint)
    real, done = worker._encode_block, []

    def dying(block, report):
        if len(done) == blocks:
            raise KeyboardInterrupt
        done.append(block.index)
        return real(block, report)

    monkeypatch.setattr(worker, "_encode_block", dying)
    with pytest.raises(KeyboardInterrupt):
        list(worker.process(unit))


@pytest.fixture
def quiet(tmp_path, tiny_bundle, unit, fingerprint) -> dict[str, bytes]:
    """Give the files of an undisturbed run."""
    store = new_store(tmp_path / "quiet", tiny_bundle)
    encode(store, fingerprint, unit)
    return store_files(tmp_path / "quiet")


def test_a_file_is_closed_after_the_block_that_reaches_its_rows(store, unit, fingerprint):
    names = encode(store, fingerprint, unit)
    listing = store.listing(codes_folder(fingerprint))
    assert names == [str(name) for name in listing.names()]
    assert listing.is_complete_shard(unit.shard)
    # Blocks of 10 rows, every seventh row of the unit is rejected.
    counts = [(name.rows, name.rejects, name.last) for name in listing.names()]
    assert counts == [(34, 6, False), (34, 6, False), (17, 3, True)]


def test_names_tell_what_is_in_the_files(store, unit, fingerprint):
    encode(store, fingerprint, unit)
    for name in store.listing(codes_folder(fingerprint)).names():
        assert store.open_footer(codes_folder(fingerprint), name).rows == name.rows
        assert store.open_footer(rejects_folder(fingerprint), name).rows == name.rejects


def test_positions_lead_back_to_the_lines(store, unit, fingerprint):
    encode(store, fingerprint, unit)
    content = Path(unit.path).read_bytes()
    tables = [store.read(codes_folder(fingerprint), n) for n in store.listing(codes_folder(fingerprint)).names()]
    codes = pa.concat_tables(tables)
    for row in codes.select(["id", "position", "text_bytes"]).to_pylist():
        line = content[row["position"] :].split(b"\n", 1)[0]
        assert len(line) == row["text_bytes"] > 0
        assert row["id"] == f"a.txt@{row['position']}"


def test_parts_are_deleted_when_their_file_is_committed(store, unit, fingerprint):
    encode(store, fingerprint, unit)
    assert files.list_names(store.path(parts_folder(fingerprint))) == []


@pytest.mark.parametrize("blocks", range(10))
def test_a_killed_worker_loses_one_block_at_most(store, unit, fingerprint, quiet, monkeypatch, blocks):
    killed_after(store, fingerprint, unit, blocks, monkeypatch)
    again = worker_of(store, fingerprint)
    real, encoded = again._encode_block, []
    monkeypatch.setattr(
        again, "_encode_block", lambda block, report: (encoded.append(block.index), real(block, report))[1]
    )
    assert len(list(again.process(unit))) == 3
    assert encoded == list(range(blocks, 10))
    assert store_files(Path(store.root)) == quiet
    assert files.list_names(store.path(parts_folder(fingerprint))) == []


def test_blocks_that_are_encoded_fast_are_not_saved_as_parts(store, unit, fingerprint, monkeypatch):
    written = []
    monkeypatch.setattr("transforms.encode.write_part", lambda *a: written.append(a))
    encode(store, fingerprint, unit, part_seconds=60.0)
    assert written == []


def test_a_damaged_part_and_one_of_other_rows_are_encoded_again(store, unit, fingerprint, quiet, monkeypatch):
    killed_after(store, fingerprint, unit, 2, monkeypatch)
    first, second = sorted(store.unit_parts(parts_folder(fingerprint), unit.shard, 0, 1).values())
    content = store.read(parts_folder(fingerprint), first)
    (Path(store.root) / parts_folder(fingerprint) / str(first)).write_bytes(b"PAR1 half")
    store.commit(parts_folder(fingerprint), second, write_table(content))  # the codes of the other block
    assert len(encode(store, fingerprint, unit)) == 3
    assert store_files(Path(store.root)) == quiet


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_a_file_that_was_deleted_is_made_again_alone(store, unit, fingerprint, quiet, monkeypatch, gone):
    names = encode(store, fingerprint, unit)
    store.remove(codes_folder(fingerprint), names[gone])
    again = worker_of(store, fingerprint)
    real, encoded = again._encode_block, []
    monkeypatch.setattr(
        again, "_encode_block", lambda block, report: (encoded.append(block.index), real(block, report))[1]
    )
    assert [str(file.name) for file in again.process(unit)] == names
    assert encoded == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]][gone]
    assert store_files(Path(store.root)) == quiet


def test_a_unit_that_another_run_completed_is_not_read(store, unit, fingerprint, monkeypatch):
    names = encode(store, fingerprint, unit)
    Path(unit.path).unlink()
    assert encode(store, fingerprint, unit) == names
    assert store.failures() == []


def test_an_empty_unit_and_one_of_rejects_only_have_a_file(store, tmp_path, fingerprint):
    for content, counts in (("", "0r0"), ("\n\n", "0r2")):
        (tmp_path / "b.txt").write_text(content)
        (shard,) = match_shards([str(tmp_path / "b.txt")], str(tmp_path), ReadOptions())
        ((start, stop, _),) = cut_shard(shard, 1 << 20)
        (name,) = encode(store, fingerprint, Unit.of(shard, 0, 1, start, stop))
        assert name.endswith(f".{counts}.end.parquet")


def test_a_unit_that_cannot_be_read_to_its_end_is_reported_and_stays_incomplete(store, unit, fingerprint):
    with open(unit.path, "a") as file:
        file.write("another line\n")
    assert encode(store, fingerprint, unit) == []
    (failure,) = store.failures()
    assert (failure["step"], failure["kind"]) == ("read", "changed_shard")
    assert store.listing(codes_folder(fingerprint)).shards == {}


class Steps:
    """Count the writes and removals of a store, and die before or after one of them."""

    def __init__(self, monkeypatch) -> None:
        self.done: list[str] = []
        self.die_at: tuple[int, str] | None = None
        for name in ("commit", "remove"):
            monkeypatch.setattr(files, name, self._wrap(name, getattr(files, name)))

    def _wrap(self, name: str, real):
        def step(path: str, *more, **named):
            number = len(self.done)
            self.done.append(f"{name} {path.split('/store/')[1].split('/')[0]}")
            if self.die_at == (number, "before"):
                raise KeyboardInterrupt
            real(path, *more, **named)
            if self.die_at == (number, "after"):
                raise KeyboardInterrupt

        return step


def test_a_worker_killed_at_any_step_of_a_commit_leaves_a_store_that_completes(
    tmp_path, tiny_bundle, unit, fingerprint, quiet, monkeypatch
):
    steps = Steps(monkeypatch)
    encode(new_store(tmp_path / "counted" / "store", tiny_bundle), fingerprint, unit)
    first = next(number for number, step in enumerate(steps.done) if step.endswith(("parts", "codes", "rejects")))
    count = len(steps.done)
    order = [step for step in steps.done[first:] if not step.endswith("parts")]
    assert order == ["commit rejects", "commit codes"] * 3
    for number in range(first, count):
        for when in ("before", "after"):
            store = new_store(tmp_path / f"{number}-{when}" / "store", tiny_bundle)
            steps.done, steps.die_at = steps.done[:first], (number, when)
            with pytest.raises(KeyboardInterrupt):
                encode(store, fingerprint, unit)
            committed = store.listing(codes_folder(fingerprint))
            for name in committed.names():  # all rows of what is committed are accounted for
                if name.rejects:
                    assert store.has(rejects_folder(fingerprint), name)
            steps.die_at = None
            assert len(encode(store, fingerprint, unit)) == 3
            assert store_files(Path(store.root)) == quiet, (number, when)
            left = files.list_names(store.path(parts_folder(fingerprint)))
            assert len(left) <= 4, "more parts are left than one file has"
