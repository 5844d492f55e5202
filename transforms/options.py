"""Options of reading, cutting and encoding shards. Imports neither Beam nor pyarrow: command lines are made from them."""

from __future__ import annotations

import dataclasses
from typing import Literal

from encoder.choices import Precision
from encoder.declare import OptionError, check, option

FormatName = Literal["auto", "text", "jsonl", "csv", "tsv", "parquet"]

RECORD_BYTES_FACTOR = 16  # a JSON line or CSV record may be this many times max_text_bytes long
MAX_TEXT_BYTES_LIMIT = 64 << 20  # so that a longest record stays within Arrow's 32-bit offsets


@dataclasses.dataclass(frozen=True)
class ReadOptions:
    """Options of reading shards. Changing one of them makes other codes: the store then holds both readings of a shard."""

    format: FormatName = option(
        "auto",
        help="format of the shards; auto infers it from the file extension, files with unknown extensions are plain text",
    )
    text_field: str = option("text", metavar="NAME", help="field or column that holds the text")
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

    def __post_init__(self) -> None:
        check(self)
        if not self.text_field:
            raise OptionError("text_field is empty; name the field or column that holds the text")
        if self.id_field == "":
            raise OptionError("id_field is empty; name a field, or leave it out to get ids made from path and position")
        if self.id_field == self.text_field:
            raise OptionError(f"id_field and text_field are both {self.text_field!r}; name two different fields")

    @property
    def max_record_bytes(self) -> int:
        return RECORD_BYTES_FACTOR * self.max_text_bytes


@dataclasses.dataclass(frozen=True)
class CutRules:
    """Rules that cut shards into units and blocks. Fixed when a store is created: names of files depend on them."""

    unit_bytes: int = option(
        16 << 20,
        metavar="N",
        minimum=1,
        default_text="16777216 for a new store",
        help="size of a unit of a splittable shard: what one worker takes at a time and what is retried",
    )
    block_rows: int = option(
        4096,
        metavar="N",
        minimum=1,
        default_text="4096 for a new store",
        help="maximum number of rows of a block: what is encoded at a time",
    )
    block_text_bytes: int = option(
        4 << 20,
        metavar="N",
        minimum=1,
        default_text="4194304 for a new store",
        help="maximum number of bytes of text of a block",
    )

    def __post_init__(self) -> None:
        check(self)


@dataclasses.dataclass(frozen=True)
class EncodeOptions:
    """Options of encoding: the device, and how much it takes at a time.

    Attributes:
        base_id: where the base model is found now, which may differ from where it was when the store got its encoder; None:
            as the store says.
        version: version of this package where the run was started; "" for any. A worker with another version is refused: its
            codes would have the same fingerprint.
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
        help="number of tokens of a forward pass, padding included",
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
    base_id: str | None = None
    version: str = ""

    def __post_init__(self) -> None:
        check(self)
