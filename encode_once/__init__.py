"""Encode every document of a corpus once into bits, and label the bits with many linear heads.

    import encode_once as eo

    eo.annotate(["--input", "corpus/*.txt", "--store", "my-store"])    # as on the command line
    codes = eo.load_encoder().encode(["a good film", "a bad film"])
    labels = eo.load_head("sentiment").predict(codes.bits)

The names below are imported from the project's packages (`encoder`, `heads`, `transforms`, `pipelines`) when they are first
used: importing `encode_once` imports neither torch nor Beam nor pyarrow. It makes Python find those packages beside this
one, so a module `transforms.py` or `heads.py` in the working directory does not hide them. Beam's workers import
`encode_once` before anything else for the same reason.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from encode_once import _finder

if TYPE_CHECKING:
    from encoder import Bundle, Codes, Encoder, EncoderError, Pooling
    from encoder import describe as describe_encoder
    from encoder import load as load_encoder
    from encoder.declare import OptionError
    from heads import Head, HeadBank, HeadError
    from heads import bundled as bundled_heads
    from heads import fit as fit_head
    from heads import load as load_head
    from heads.evaluate import evaluate as evaluate_head
    from pipelines.annotate import run as annotate
    from pipelines.annotate import run_encode as encode
    from pipelines.annotate import run_label as label
    from pipelines.models.labelled import DataError
    from pipelines.models.make_encoder import run as make_encoder
    from pipelines.models.train_encoder import run as train_encoder
    from pipelines.models.train_head import run as train_head
    from pipelines.models.zero_shot_head import run as zero_shot_head
    from pipelines.prune import run as prune
    from pipelines.running.interruption import WorkerError
    from pipelines.status import run as status
    from pipelines.verify import run as verify
    from transforms.match import InputError
    from transforms.store import Store, StoreError, open_store

__version__ = "0.1.0"
__all__ = [
    "Bundle",
    "Codes",
    "DataError",
    "Encoder",
    "EncoderError",
    "Head",
    "HeadBank",
    "HeadError",
    "InputError",
    "OptionError",
    "Pooling",
    "Store",
    "StoreError",
    "WorkerError",
    "annotate",
    "bundled_heads",
    "describe_encoder",
    "encode",
    "evaluate_head",
    "fit_head",
    "label",
    "load_encoder",
    "load_head",
    "make_encoder",
    "open_store",
    "prune",
    "status",
    "train_encoder",
    "train_head",
    "verify",
    "zero_shot_head",
]

# name here: where it is. The commands are functions of a list of arguments that return what they made.
_PLACES = {
    "Bundle": "encoder:Bundle",
    "Codes": "encoder:Codes",
    "DataError": "pipelines.models.labelled:DataError",
    "Encoder": "encoder:Encoder",
    "EncoderError": "encoder:EncoderError",
    "Head": "heads:Head",
    "HeadBank": "heads:HeadBank",
    "HeadError": "heads:HeadError",
    "InputError": "transforms.match:InputError",
    "OptionError": "encoder.declare:OptionError",
    "Pooling": "encoder:Pooling",
    "Store": "transforms.store:Store",
    "StoreError": "transforms.store:StoreError",
    "WorkerError": "pipelines.running.interruption:WorkerError",
    "annotate": "pipelines.annotate:run",
    "bundled_heads": "heads:bundled",
    "describe_encoder": "encoder:describe",
    "encode": "pipelines.annotate:run_encode",
    "evaluate_head": "heads.evaluate:evaluate",
    "fit_head": "heads:fit",
    "label": "pipelines.annotate:run_label",
    "load_encoder": "encoder:load",
    "load_head": "heads:load",
    "make_encoder": "pipelines.models.make_encoder:run",
    "open_store": "transforms.store:open_store",
    "prune": "pipelines.prune:run",
    "status": "pipelines.status:run",
    "train_encoder": "pipelines.models.train_encoder:run",
    "train_head": "pipelines.models.train_head:run",
    "verify": "pipelines.verify:run",
    "zero_shot_head": "pipelines.models.zero_shot_head:run",
}

_finder.install()


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'encode_once' has no attribute {name!r}")
    module, _, attribute = _PLACES[name].partition(":")
    value = getattr(importlib.import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
