"""Workers on a cluster: of one version, and with as many encodings at once as there are cores for."""

from __future__ import annotations

import pytest
import torch

from transforms import encode
from transforms.encode import EncodeOptions, _encode_semaphore, _EncodeUnits
from transforms.machine import package_version
from transforms.options import CutRules, ReadOptions
from transforms.store import Store


@pytest.fixture(autouse=True)
def forget():
    _encode_semaphore.cache_clear()
    yield
    _encode_semaphore.cache_clear()


@pytest.mark.parametrize(
    ("device", "cores", "threads", "turns"),
    [("cpu", 16, 16, 1), ("cpu", 16, 4, 4), ("cpu", 2, 8, 1), ("cuda", 16, 1, 1)],
)
def test_encodings_at_once(monkeypatch, device, cores, threads, turns):
    monkeypatch.setattr(encode, "usable_cores", lambda: cores)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    semaphore = _encode_semaphore(device)
    assert [semaphore.acquire(blocking=False) for _ in range(turns + 1)] == [True] * turns + [False]


def test_a_worker_of_another_version_is_refused():
    worker = _EncodeUnits(Store("/none", CutRules(), ""), ReadOptions(), "0" * 64, EncodeOptions(version="0.0.1"))
    with pytest.raises(
        RuntimeError, match=f"this worker has encode-once {package_version()}, the run was started with 0.0.1"
    ):
        worker.setup()
