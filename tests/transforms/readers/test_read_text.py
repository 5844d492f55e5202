"""Claims about reading text shards."""

import pytest

from tests.transforms.shards import COMPRESS, column, read, rejects


@pytest.mark.parametrize("compression", ["", ".gz"])
def test_bad_text_lines_are_rejected_where_they_stand(compression):
    lines = [b"good", b"\xff\xfe bad", b"", b" \t\xe3\x80\x80", b"\xed\xa0\x80", "gut ü".encode(), b"\xc3"]
    blocks = read(COMPRESS[compression](b"\n".join(lines)), f"a.txt{compression}")
    assert column(blocks, "text") == ["good", "gut ü"]
    offsets = [sum(len(line) + 1 for line in lines[:index]) for index in range(len(lines))]
    positions, mark = (range(len(lines)), "#") if compression else (offsets, "@")
    reasons = {1: "invalid_utf8", 2: "blank_text", 3: "blank_text", 4: "invalid_utf8", 6: "invalid_utf8"}
    assert rejects(blocks) == [
        (positions[row], f"a.txt{compression}{mark}{positions[row]}", reason) for row, reason in reasons.items()
    ]
