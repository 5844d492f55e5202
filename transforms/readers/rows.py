"""Complete the rows of a reader: ids made of positions, truncated texts, and the rejects that all formats share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.blocks import ROW_SCHEMA
from transforms.options import ReadOptions
from transforms.readers.columns import truncate_texts

BATCH_TEXT_BYTES = 4 << 20  # about how much text of a CSV, Parquet or Arrow shard is read at once


@dataclass(frozen=True)
class RowBuilder:
    """Makes record batches of ROW_SCHEMA from the texts of a reader.

    An id is made of `id_prefix` ("a.txt@") and the position of the row.
    """

    id_prefix: str
    options: ReadOptions

    def build(
        self,
        texts: pa.StringArray,
        positions: np.ndarray | Sequence[int],
        *,
        ids: pa.StringArray | None = None,
        truncated: pa.BooleanArray | None = None,
        reasons: pa.StringArray | None = None,
        details: pa.StringArray | None = None,
    ) -> pa.RecordBatch:
        """Complete n rows.

        A reason in `reasons` takes precedence over missing_id, missing_text and blank_text, in this order.

        Args:
            texts: n strings, null where a row has no text.
            positions: n whole numbers.
            ids: n strings, null where a row has no id; None to make all ids of positions.
            truncated: n truth values; None to truncate texts here.
            reasons: n reasons of RejectReason, null for rows that are kept.
            details: n explanations of the reasons.
        """
        n, options = len(texts), self.options
        position_column = pa.array(positions, pa.int64())
        if ids is None:
            ids = pc.binary_join_element_wise(self.id_prefix, position_column.cast(pa.string()), "")
        if truncated is None:
            texts, truncated = truncate_texts(texts, options.max_text_bytes)
        blank = pc.or_(pc.equal(pc.binary_length(texts), 0), pc.utf8_is_space(texts))
        reasons = pa.nulls(n, pa.string()) if reasons is None else reasons
        details = pa.nulls(n, pa.string()) if details is None else details
        text_fields = " and ".join(map(repr, options.text_field))
        if len(options.text_field) == 1:
            missing = f"field {text_fields} is missing or null"
        else:
            missing = f"fields {text_fields} are missing or null"
        for reason, applies, detail in (
            ("missing_id", pc.is_null(ids), f"field {options.id_field!r} holds no string and no whole number"),
            ("missing_text", pc.is_null(texts), missing),
            ("blank_text", pc.fill_null(blank, False), "the text is empty or only white space"),
        ):
            applies = pc.and_(applies, pc.is_null(reasons))
            if applies.true_count:
                reasons, details = (pc.if_else(applies, reason, reasons), pc.if_else(applies, detail, details))
        return pa.record_batch([ids, texts, truncated, position_column, reasons, details], schema=ROW_SCHEMA)
