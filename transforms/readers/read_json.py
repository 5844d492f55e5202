"""Read the lines of a JSON-lines shard as rows."""

import json
import re
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.json as pa_json

from transforms.blocks import ReadOptions, UnitError
from transforms.readers.columns import id_of, is_utf8, null_where_empty, only_chunk, short_detail
from transforms.readers.lines import LineBatch
from transforms.readers.rows import RowBuilder

MAX_JSON_DEPTH = 256  # a fixed limit, as Python's own depends on how deep the caller's stack is

_decode_json = json.JSONDecoder().raw_decode
_decode_json_with_huge_ints = json.JSONDecoder(parse_int=float).raw_decode


def read_json_rows(batches: Iterable[tuple[LineBatch, np.ndarray]], builder: RowBuilder) -> Iterator[pa.RecordBatch]:
    """Read batches of lines and their positions (n,) int64 into batches of ROW_SCHEMA: each line is a JSON object."""
    parser = _JsonParser(builder.options)
    for lines, positions in batches:
        if positions[0] == 0 and _begins_an_array(lines.data[lines.begins[0] : lines.ends[0]]):
            raise UnitError(
                "the shard is a JSON array, not JSON lines; jq -c '.[]' makes lines of it", "unsupported_format"
            )
        yield builder.build(positions=positions, **parser.parse(lines))


def _begins_an_array(line: bytes) -> bool:
    """Whether a shard's first line begins an array of rows; a row that is an array by mistake is a reject."""
    if not line.lstrip().startswith(b"["):
        return False
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return True
    return any(isinstance(row, dict) for row in found)


class _JsonParser:
    """Parse JSON lines: with Arrow where its answer is sure to be json's own, else line by line with json."""

    def __init__(self, options: ReadOptions):
        self._options = options
        self._id_type = pa.string()  # what the ids were last time

    def parse(self, lines: LineBatch) -> dict[str, pa.StringArray]:
        """Parse n lines into columns of n strings, named as RowBuilder.build takes them."""
        # Asking Arrow again for parts of a bad batch costs more (a hand-over to its reader thread each) than it saves.
        return self._parse_batch(lines) or self._parse_each(lines)

    def _parse_batch(self, lines: LineBatch) -> dict | None:
        data = pa.py_buffer(lines.data)
        if not _is_plain_json_lines(lines) or not is_utf8(data):
            return None
        fields = [pa.field(self._options.text_field, pa.string())]
        id_types = [None]
        if self._options.id_field is not None:
            id_types = [self._id_type, pa.int64() if self._id_type == pa.string() else pa.string()]
        for id_type in id_types:
            schema = pa.schema(fields if id_type is None else [*fields, pa.field(self._options.id_field, id_type)])
            try:
                table = pa_json.read_json(
                    pa.BufferReader(data),
                    read_options=pa_json.ReadOptions(use_threads=False, block_size=data.size + 1),
                    parse_options=pa_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
                ).combine_chunks()
            except pa.ArrowInvalid:
                continue
            if table.num_rows != len(lines):
                return None
            columns = {"texts": only_chunk(table[self._options.text_field])}
            if id_type is not None:
                self._id_type = id_type
                columns["ids"] = null_where_empty(only_chunk(table[self._options.id_field]).cast(pa.string()))
            return columns
        return None

    def _parse_each(self, lines: LineBatch) -> dict:
        rows = [
            (None, None, "line_too_long", f"the line has more than {self._options.max_record_bytes} bytes")
            if truncated
            else self._parse_line(lines.data[begin:end])
            for begin, end, truncated in zip(
                lines.begins.tolist(), lines.ends.tolist(), lines.truncated.tolist(), strict=True
            )
        ]
        ids, texts, reasons, details = zip(*rows, strict=True)
        columns = {"texts": texts, "reasons": reasons, "details": details}
        if self._options.id_field is not None:
            columns["ids"] = ids
        return {name: pa.array(column, pa.string()) for name, column in columns.items()}

    def _parse_line(self, line: bytes) -> tuple:
        """Return (id, text, reason, detail) of one line; text may be None without a reason."""
        if not line.strip():
            return None, None, "blank_text", "the line is empty"
        try:
            row = _load_json(line.decode())
        except UnicodeDecodeError as error:
            return None, None, "invalid_utf8", short_detail(error)
        except (ValueError, RecursionError) as error:
            return None, None, "malformed_json", short_detail(error)
        if not isinstance(row, dict):
            return None, None, "malformed_json", f"the line holds a JSON {type(row).__name__}, not an object"
        row_id, text = id_of(row.get(self._options.id_field)), row.get(self._options.text_field)
        if text is not None and not isinstance(text, str):
            text, reason, detail = None, "not_a_string", f"the text is a JSON {type(text).__name__}"
        else:
            reason = detail = None
        if b"\\u" in line:  # only an escape can make a lone surrogate
            if _has_surrogate(row_id):
                row_id, reason, detail = None, "invalid_utf8", "the id holds a lone surrogate"
            if _has_surrogate(text):
                text, reason, detail = None, "invalid_utf8", "the text holds a lone surrogate"
        return row_id, text, reason, detail


def _is_plain_json_lines(lines: LineBatch) -> bool:
    """Tell whether Arrow reads these lines as json would, row for row, provided it reads them at all.

    Arrow does not care about newlines between tokens. But where every line begins with { and ends with }, each newline
    stands between two objects (no } is followed by { inside one), so as many objects as lines means one on each. Arrow
    further takes Inf and -NaN for numbers, and nests without a limit.
    """
    array = np.frombuffer(lines.data, np.uint8)
    if lines.truncated.any() or (lines.ends <= lines.begins).any():
        return False
    if (array[lines.begins] != ord("{")).any() or (array[lines.ends - 1] != ord("}")).any():
        return False
    if b"-NaN" in lines.data or (b"Inf" in lines.data and re.search(rb"Inf\s*[,\]}]", lines.data)):
        return False
    if (lines.ends - lines.begins).max() <= 2 * MAX_JSON_DEPTH:
        return True
    brackets = np.add.reduceat((array == ord("{")) | (array == ord("[")), lines.begins, dtype=np.int64)
    return int(brackets.max()) <= MAX_JSON_DEPTH


def _load_json(line: str):
    line = line.strip(" \t\r\n")
    try:
        value, end = _decode_json(line)  # what json.loads does after checks that cost a third of its time
    except json.JSONDecodeError:
        raise
    except ValueError:  # a whole number of more digits than int() takes
        value, end = _decode_json_with_huge_ints(line)
    if end != len(line):
        raise ValueError(f"there is more after the JSON value, at char {end}")
    if len(line) > MAX_JSON_DEPTH and line.count("{") + line.count("[") > MAX_JSON_DEPTH:
        depth = deepest = 0
        for bracket in re.findall(r"[\[\]{}]", re.sub(r'"(?:[^"\\]|\\.)*"', "", line)):
            depth += 1 if bracket in "[{" else -1
            deepest = max(deepest, depth)
        if deepest > MAX_JSON_DEPTH:
            raise ValueError(f"the line is nested deeper than {MAX_JSON_DEPTH}")
    return value


def _has_surrogate(value: str | None) -> bool:
    return value is not None and re.search("[\ud800-\udfff]", value) is not None
