"""An encoder bundle: everything that decides the output bits of an encoder, in `encoder.json` and safetensors files.

Needs neither torch nor transformers, so that planning, listing and checking do not load a model.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import re
from pathlib import Path
from typing import Any, get_args

import numpy as np
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from encoder.adapter import Adapter
from encoder.base import Base, EncoderError, find
from encoder.choices import LongTexts
from encoder.model_folder import ModelFolder
from encoder.pooling import Pooling
from encoder.projection import count_values

FORMAT_VERSION = 3
BUNDLED_FOLDER = Path(__file__).parent / "bundles"

DESCRIPTION_FILE = "encoder.json"
PARAMETERS_FILE = "parameters.safetensors"
ADAPTER_FILE = "adapter.safetensors"
ENCODER_FOLDER = ModelFolder("an encoder's folder", (PARAMETERS_FILE, ADAPTER_FILE, DESCRIPTION_FILE), EncoderError)

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Bundle:
    """Everything that turns text into codes.

    Attributes:
        name: for people; not part of the fingerprint.
        base_id: the base model (see `encoder.base`); its files' hashes are part of the fingerprint, its name is not.
        base_files: SHA-256 by file name of the base model's configuration, weights and tokenizer.
        pooling: layers × positions.
        bits: bits per code; a multiple of 8.
        thresholds: (bits,) float32; a feature above its threshold gives a one.
        projection: applied to the features before the threshold, see `encoder.projection.project`: (dim, bits) float32 or
            (blocks, dim // blocks, bits // blocks); or None.
        adapter: the tensors added to the base model's weights, or None.
        prefix: inserted before every text ("query: " for E5).
        max_tokens: tokens per window, special tokens included.
        long_texts: what happens to a text of more than `max_tokens`: "truncate" reads its beginning; "windows" reads all of it
            in overlapping windows, whose features are averaged before the threshold.
        overlap_tokens: tokens that two neighbouring windows share.
        calibration: how the thresholds were fitted, for people.
        training: how the adapter was trained, for people; empty without an adapter.
    """

    name: str
    base_id: str
    base_files: dict[str, str]
    pooling: Pooling
    bits: int
    thresholds: np.ndarray
    projection: np.ndarray | None = None
    prefix: str = ""
    max_tokens: int = 256
    long_texts: LongTexts = "truncate"
    overlap_tokens: int = 32
    calibration: dict[str, Any] = dataclasses.field(default_factory=dict)
    adapter: Adapter | None = None
    training: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.bits <= 0 or self.bits % 8:
            raise EncoderError(f"bits must be a positive multiple of 8, not {self.bits}")
        if self.long_texts not in get_args(LongTexts):
            raise EncoderError(
                f"unknown policy for long texts {self.long_texts!r}; choose from {', '.join(get_args(LongTexts))}"
            )
        if self.max_tokens < 8 or not 0 <= self.overlap_tokens <= self.max_tokens // 2:
            raise EncoderError(
                f"max_tokens must be at least 8 and overlap_tokens at most half of it, "
                f"not {self.max_tokens} and {self.overlap_tokens}"
            )
        shape = f"({self.bits},)"
        _check_array("thresholds", self.thresholds, self.thresholds.shape == (self.bits,), shape)
        if self.projection is not None:
            fits = self.projection.ndim in (2, 3) and count_values(self.projection) == self.bits
            shape = f"(dim, {self.bits}), or of blocks that give {self.bits} values in all"
            _check_array("projection", self.projection, fits, shape)

    @property
    def fingerprint(self) -> str:
        """Return the hex SHA-256 over everything that can change the output bits."""
        decisive = self._decisive() | {"parameters_sha256": hashlib.sha256(self._parameters()).hexdigest()}
        if self.adapter is not None:
            decisive["adapter_sha256"] = hashlib.sha256(self.adapter.content).hexdigest()
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()

    @property
    def rotated(self) -> bool:
        """Return whether each pooled vector is rotated by itself: then each stretch of the bits belongs to one vector."""
        return self.projection is not None and self.projection.ndim == 3

    def find_base(self) -> Base:
        """Find the base model and check that its files have the pinned hashes. Reads all of them.

        Raises:
            EncoderError: the base model is not found, or differs.
        """
        base = find(self.base_id)
        if (hashes := base.file_hashes()) != self.base_files:
            names = hashes.keys() | self.base_files.keys()
            changed = sorted(name for name in names if hashes.get(name) != self.base_files.get(name))
            pinned, here = (files.get(changed[0], "absent")[:12] for files in (self.base_files, hashes))
            raise EncoderError(
                f"base model {self.base_id} is not the one encoder {self.name!r} was made with: {changed[0]} has "
                f"SHA-256 {here} here and {pinned} in the bundle; install the pinned model or make the encoder again"
            )
        return base

    def files(self) -> dict[str, bytes]:
        """Return the contents of the bundle's files by name, in the order in which to write them: the description is last."""
        description = {
            "format_version": FORMAT_VERSION,
            "name": self.name,
            "fingerprint": self.fingerprint,
            "base_id": self.base_id,
            **self._decisive(),
            "calibration": self.calibration,
        }
        if self.training:
            description["training"] = self.training
        text = json.dumps(description, indent=2, ensure_ascii=False) + "\n"
        adapter = {} if self.adapter is None else {ADAPTER_FILE: self.adapter.content}
        return {PARAMETERS_FILE: self._parameters(), **adapter, DESCRIPTION_FILE: text.encode()}

    def save(self, folder: str | Path) -> Path:
        """Write the bundle's folder; replace an existing bundle, refuse anything else.

        Raises:
            EncoderError: the folder holds other files, or cannot be written.
        """
        folder = Path(folder)
        ENCODER_FOLDER.write(folder, self.files())
        return folder

    def _decisive(self) -> dict[str, Any]:
        return {
            "base_files": dict(sorted(self.base_files.items())),
            "pooling": {"layers": list(self.pooling.layers), "positions": list(self.pooling.positions)},
            "bits": self.bits,
            "prefix": self.prefix,
            "max_tokens": self.max_tokens,
            "long_texts": self.long_texts,
            "overlap_tokens": self.overlap_tokens,
        }

    def _parameters(self) -> bytes:
        tensors = {"thresholds": self.thresholds}
        if self.projection is not None:
            tensors["projection"] = np.ascontiguousarray(_as_stored(self.projection))
        return save_tensors(tensors)


def _check_array(name: str, array: np.ndarray, fits: bool, shape: str) -> None:
    if array.dtype != np.float32 or not fits:
        raise EncoderError(f"{name} must be float32 {shape}, not {array.dtype} {array.shape}")
    if not np.isfinite(array).all():
        raise EncoderError(f"{name} has values that are not finite")


def _as_stored(projection: np.ndarray) -> np.ndarray:
    """Return a projection of blocks as float16 if that is exact, which it is for rotations; others unchanged."""
    if projection.ndim == 2:
        return projection
    half = projection.astype(np.float16)
    return half if np.array_equal(half.astype(np.float32), projection) else projection


def describe(bundle: str) -> Bundle:
    """Read a bundle without loading its model.

    Args:
        bundle: "default", a bundle's folder, a model's folder, or a Hugging Face id. A model without a bundle gets the mean of
            its last layer, with thresholds at zero.

    Raises:
        EncoderError: there is no such bundle or model, or it cannot be read.
    """
    bundle = os.path.expanduser(bundle)
    folder = BUNDLED_FOLDER / bundle if re.fullmatch(r"[\w-]+", bundle) else Path(bundle)
    if (folder / DESCRIPTION_FILE).is_file():
        return read(folder)
    if (Path(bundle) / DESCRIPTION_FILE).is_file():
        return read(Path(bundle))
    bare = bundle_of_bare_model(find(bundle))
    _log.warning(
        "%s is a model without thresholds: they are set to zero; bits are better with the thresholds that make-encoder fits",
        bundle,
    )
    return bare


def read(folder: Path) -> Bundle:
    """Read a bundle's folder.

    Raises:
        EncoderError: the bundle has another format, or a file is damaged.
    """
    try:
        description = json.loads((folder / DESCRIPTION_FILE).read_text(encoding="utf-8"))
        version = description["format_version"]
        if version != FORMAT_VERSION:
            raise EncoderError(
                f"encoder bundle {folder} has format {version}, this version of encode-once reads format {FORMAT_VERSION}; "
                "make the bundle again, or install the version that wrote it"
            )
        adapter_path = folder / ADAPTER_FILE
        # If the file of an adapter was lost, the fingerprint below differs.
        adapter = Adapter.read(adapter_path.read_bytes()) if adapter_path.exists() else None
        parameters = load_tensors((folder / PARAMETERS_FILE).read_bytes())
        projection = parameters.get("projection")
        bundle = Bundle(
            name=description["name"],
            base_id=description["base_id"],
            base_files=description["base_files"],
            pooling=Pooling(**{key: tuple(value) for key, value in description["pooling"].items()}),
            bits=description["bits"],
            thresholds=parameters["thresholds"],
            projection=None if projection is None else projection.astype(np.float32, copy=False),
            prefix=description["prefix"],
            max_tokens=description["max_tokens"],
            long_texts=description["long_texts"],
            overlap_tokens=description["overlap_tokens"],
            calibration=description["calibration"],
            adapter=adapter,
            training=description.get("training", {}),
        )
    except EncoderError:
        raise
    except Exception as error:  # whatever a damaged file raises, the message names the folder
        raise EncoderError(f"{folder} is not a readable encoder bundle: {type(error).__name__}: {error}") from error
    if bundle.fingerprint != description["fingerprint"]:
        raise EncoderError(
            f"encoder bundle {folder} was changed after it was made: its files have the fingerprint "
            f"{bundle.fingerprint[:12]}, its description names {description['fingerprint'][:12]}; copy or make it again"
        )
    return bundle


def bundle_of_bare_model(base: Base) -> Bundle:
    """Return a bundle of a model that has none: the mean of its last layer, thresholds at zero."""
    config = base.config()
    width, layers = hidden_size(config), layer_count(config)
    return Bundle(
        name=base.id,
        base_id=base.id,
        base_files=base.file_hashes(),
        pooling=Pooling(layers=(layers,)),
        bits=width,
        thresholds=np.zeros(width, np.float32),
        max_tokens=(max_tokens := min(256, token_limit(config))),
        overlap_tokens=default_overlap(max_tokens),
    )


def default_overlap(max_tokens: int) -> int:
    """Return the default number of tokens that neighbouring windows share."""
    return min(32, max_tokens // 4)


def hidden_size(config: dict[str, Any]) -> int:
    """Return the width of a model's hidden states from its `config.json`."""
    return _first(config, "hidden_size", "d_model", "dim", "n_embd")


def layer_count(config: dict[str, Any]) -> int:
    """Return the number of a model's layers from its `config.json`."""
    return _first(config, "num_hidden_layers", "n_layers", "n_layer", "num_layers")


def token_limit(config: dict[str, Any]) -> int:
    """Return how many tokens a model can read at once, special ones included, from its `config.json`."""
    limit = _first(config, "max_position_embeddings", "n_positions", default=512)
    # RoBERTa's family counts positions from the padding id on.
    reserved = (config.get("pad_token_id", 1) or 0) + 1 if _counts_from_padding(config) else 0
    return limit - reserved


def _counts_from_padding(config: dict[str, Any]) -> bool:
    return config.get("model_type") in ("roberta", "xlm-roberta", "camembert", "mpnet", "roberta-prelayernorm")


def _first(config: dict[str, Any], *names: str, default: int | None = None) -> int:
    for name in names:
        if name in config:
            return config[name]
    if default is not None:
        return default
    raise EncoderError(f"the model's config.json has none of {', '.join(names)}: this kind of model is not supported")
