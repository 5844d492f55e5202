"""Complete what any format's reader found in its rows: ids made of positions, cuts, and the rejects all formats share."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from transforms.blocks import ROW_SCHEMA, ReadOptions
from transforms.readers.columns import truncate_texts

BATCH_TEXT_BYTES = 4 << 20  # about how much text of CSV or Parquet is held before it goes on


@dataclass(frozen=True)
class RowBuilder:
    """Make record batches of ROW_SCHEMA out of a reader's texts.

    An id that is made is `id_prefix` ("a.txt@") and the row's position.
    """

    id_prefix: str
    options: ReadOptions

    def build(self, texts, positions, *, ids=None, truncated=None, reasons=None, details=None) -> pa.RecordBatch:
        """Complete rows of n texts (null where there is none): ids, cuts, and the rejects that all formats share.

        `texts`, `ids`, `reasons` and `details` are strings, `positions` whole numbers; ids not given are made.
        A reason given wins over the ones found here; then come missing_id, missing_text and blank_text.
        """
        n, options = len(texts), self.options
        positions = pa.array(positions, pa.int64())
        if ids is None:
            ids = pc.binary_join_element_wise(self.id_prefix, positions.cast(pa.string()), "")
        if truncated is None:
            texts, truncated = truncate_texts(texts, options.max_text_bytes)
        blank = pc.or_(pc.equal(pc.binary_length(texts), 0), pc.utf8_is_space(texts))
        reasons = pa.nulls(n, pa.string()) if reasons is None else reasons
        details = pa.nulls(n, pa.string()) if details is None else details
        id_field, text_field = options.id_field, options.text_field
        for reason, applies, detail in (
            ("missing_id", pc.is_null(ids), f"field {id_field!r} holds no string and no whole number"),
            ("missing_text", pc.is_null(texts), f"field {text_field!r} is missing or null"),
            ("blank_text", pc.fill_null(blank, False), "the text is empty or only white space"),
        ):
            applies = pc.and_(applies, pc.is_null(reasons))
            if applies.true_count:
                reasons, details = (pc.if_else(applies, reason, reasons), pc.if_else(applies, detail, details))
        return pa.record_batch([ids, texts, truncated, positions, reasons, details], schema=ROW_SCHEMA)
