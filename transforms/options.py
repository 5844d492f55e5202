"""Options of reading, splitting and encoding shards. Imports neither Beam nor pyarrow, as command lines use it."""

from __future__ import annotations

import codecs
import dataclasses
from typing import Any, Literal

from encoder.choices import Precision
from encoder.declare import OptionError, check, option

FormatName = Literal["auto", "text", "jsonl", "csv", "tsv", "parquet", "arrow"]
Quoting = Literal["auto", "minimal", "none"]

RECORD_BYTES_FACTOR = 16  # the longest JSON line or CSV record, as a multiple of max_text_bytes
MAX_TEXT_BYTES_LIMIT = 64 << 20  # keeps the longest record within Arrow's 32-bit offsets


@dataclasses.dataclass(frozen=True)
class ReadOptions:
    """Options of reading shards. If one of them changes, shards are encoded anew beside their earlier codes."""

    format: FormatName = option(
        "auto",
        help="format of the shards; auto infers it from the file extension, and from the content of files with unknown "
        "extensions: JSON lines or plain text",
    )
    text_field: tuple[str, ...] = option(
        ("text",),
        metavar="NAME",
        help="field or column that holds the text; data.text is the field text nested in data; several fields are joined "
        "with newlines",
    )
    id_field: str | None = option(
        None,
        metavar="NAME",
        default_text="path and position",
        help="field or column that holds the id; ids made from path and position change when a file is rewritten",
    )
    max_text_bytes: int = option(
        1 << 20,
        metavar="N",
        minimum=1,
        maximum=MAX_TEXT_BYTES_LIMIT,
        help="longer texts are truncated to this many bytes, between two characters",
    )
    delimiter: str | None = option(
        None,
        metavar="CHAR",
        default_text="comma for CSV, tab for TSV",
        help="character between the fields of CSV and TSV files",
    )
    quoting: Quoting = option(
        "auto",
        help="quotes in CSV and TSV files: minimal removes the quotes around a field, none reads quotes as text; auto is "
        "minimal, except that for tab-separated fields the first rows decide",
    )
    encoding: str = option(
        "utf-8",
        metavar="NAME",
        help="character encoding of text, JSON, CSV and TSV files, for example utf-16, latin-1 or cp1252",
    )

    def __post_init__(self) -> None:
        fields = (self.text_field,) if isinstance(self.text_field, str) else tuple(self.text_field)
        object.__setattr__(self, "text_field", fields)
        check(self)
        if not fields or not all(fields):
            raise OptionError("text_field is empty; name the field or column that holds the text")
        if len(set(fields)) < len(fields):
            raise OptionError(f"text_field names a field twice: {', '.join(fields)}")
        if self.id_field == "":
            raise OptionError("id_field is empty; name a field, or leave it out to get ids made from path and position")
        if self.id_field in fields:
            raise OptionError(f"id_field and text_field are both {self.id_field!r}; name two different fields")
        if self.delimiter == r"\t":  # as a shell passes it on
            object.__setattr__(self, "delimiter", "\t")
        if self.delimiter is not None and (len(self.delimiter) != 1 or self.delimiter in '\r\n\0"'):
            raise OptionError(
                f"delimiter is {self.delimiter!r} but must be one character other than a quote or line end"
            )
        object.__setattr__(self, "encoding", _canonical_encoding(self.encoding))

    @property
    def max_record_bytes(self) -> int:
        """Return the limit of a JSON line or CSV record in bytes."""
        return RECORD_BYTES_FACTOR * self.max_text_bytes

    def delimiter_of(self, kind: str) -> str:
        """Return the character between the fields of a CSV or TSV shard."""
        return self.delimiter or ("\t" if kind == "tsv" else ",")

    def quoting_of(self, kind: str) -> Quoting:
        """Return how quotes in a CSV or TSV shard are read. Only for fields between tabs, auto looks at the content."""
        return "minimal" if self.quoting == "auto" and self.delimiter_of(kind) != "\t" else self.quoting

    def key_fields(self, kind: str) -> dict[str, Any]:
        """Return what decides which rows are read from a shard of this kind, as JSON values for the key of the shard.

        Options that do not apply to the kind are left out, so that a change of them does not read the shard again.
        """
        fields: dict[str, Any] = {"kind": kind, "max_text_bytes": self.max_text_bytes}
        if kind != "text":
            fields |= {"text_field": list(self.text_field), "id_field": self.id_field}
        if kind in ("csv", "tsv"):
            fields |= {"delimiter": self.delimiter_of(kind), "quoting": self.quoting_of(kind)}
        if kind not in ("parquet", "arrow"):
            fields["encoding"] = self.encoding
        return fields


def _canonical_encoding(name: str) -> str:
    try:
        "".encode(name)  # also refuses codecs that are no character encodings
        canonical = codecs.lookup(name).name
    except LookupError:
        raise OptionError(
            f"encoding is {name!r}, which Python does not know; examples are utf-8, utf-16, latin-1 and cp1252"
        ) from None
    return "utf-8" if canonical == "utf-8-sig" else canonical


@dataclasses.dataclass(frozen=True)
class CutRules:
    """Sizes of units, blocks and files. Fixed when a store is created, because file names depend on them."""

    unit_bytes: int = option(
        16 << 20,
        metavar="N",
        minimum=1,
        default_text="16777216 for a new store",
        help="number of bytes of a unit of a splittable shard; one worker processes one unit at a time",
    )
    block_rows: int = option(
        4096,
        metavar="N",
        minimum=1,
        default_text="4096 for a new store",
        help="maximum number of rows of a block; a killed worker loses at most one block of encoding",
    )
    block_text_bytes: int = option(
        4 << 20,
        metavar="N",
        minimum=1,
        default_text="4194304 for a new store",
        help="maximum number of bytes of text of a block",
    )
    file_bytes: int = option(
        64 << 20,
        metavar="N",
        minimum=1,
        default_text="67108864 for a new store",
        help="number of bytes of codes after which a file is closed; each worker holds one file in memory",
    )

    def __post_init__(self) -> None:
        check(self)

    def file_rows(self, bits: int) -> int:
        """Return the number of codes of `bits` bits after which a file is closed."""
        return max(1, self.file_bytes // (bits // 8))


@dataclasses.dataclass(frozen=True)
class EncodeOptions:
    """Options of encoding: the device and the sizes of batches.

    Attributes:
        base_id: where the base model is now, if it differs from the description in the store; None: as described there.
        version: version of this package where the run was started; "" for any. A worker with another version fails, because
            its codes would have the same fingerprint.
    """

    device: str = option(
        "auto",
        metavar="DEVICE",
        suggestions=("auto", "cpu", "cuda", "mps"),
        help="device of the encoder: auto, cpu, cuda, cuda:N or mps",
    )
    precision: Precision = option(
        "auto", help="precision of matrix products; auto is bfloat16 where the processor supports it"
    )
    batch_tokens: int | None = option(
        None,
        metavar="N",
        minimum=1,
        default_text="depends on the device",
        help="maximum number of tokens in a forward pass, padding included",
    )
    threads: int | None = option(
        None,
        metavar="N",
        minimum=1,
        default_text="number of cores / number of local workers",
        help="number of CPU threads of a worker",
    )
    accelerator: str = option(
        "",
        metavar="HINT",
        help="Beam's accelerator hint for the encoding stage, such as type:nvidia-l4;count:1;install-nvidia-driver",
    )
    part_seconds: float = option(
        1.0,
        metavar="SECONDS",
        minimum=0,
        help="save a block that took at least this long to encode, so that a resumed run does not encode it again",
    )
    base_id: str | None = None
    version: str = ""

    def __post_init__(self) -> None:
        check(self)
