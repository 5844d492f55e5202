from __future__ import annotations

import html.parser

import pytest

from pipelines.report_page import render

RECORD = {
    "run": "20260101T000000Z-00000000",
    "state": "running",
    "command": "annotate",
    "arguments": ["--input", "a b/*", "--store", "<b>s</b>"],
    "started": "2026-01-01T00:00:00+00:00",
    "machine": {"host": "here", "cores": 2},
    "versions": {"python": "3.11"},
}
SUMMARY = {
    "documents": 1234,
    "tokens": 56789,
    "truncated": 3,
    "padding_share": 0.25,
    "rejected": {"blank_text": 1000, "not_<a>_string": 1},
    "reject_share": 0.4479,
    "labelled": {"topic": 1234},
    "label_shares": {"topic": {"rare & odd": 0.1, "often": 0.9}},
    "failures": [],
    "seconds": 2.0,
    "encode_seconds": 1.9,
    "documents_per_second": 617.0,
}


class Reader(html.parser.HTMLParser):
    """Check that every tag is closed in its turn; keep the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open, self.text = [], []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        assert tag not in ("script", "img", "link")
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def text_of(**more) -> list[str]:
    return Reader(render(RECORD | more)).text


def test_a_finished_run_shows_figures_and_labels_the_commonest_first():
    text = text_of(state="done", plan={"shards": 5, "units": 7, "units_done": 0}, summary=SUMMARY)
    assert "annotate: done" in text
    assert {"1,234", "56,789", "1,001 (44.79%)", "topic: 1,234 documents", "25.0%"} <= set(text)
    assert text.index("often") < text.index("rare & odd")
    assert "units coded and labelled before" not in text  # there were none


def test_what_users_wrote_is_text_not_html():
    text = text_of(summary=SUMMARY)
    assert "encode-once annotate --input 'a b/*' --store '<b>s</b>'" in text
    assert "… not_<a>_string" in text


def test_failures_and_errors_are_told():
    failure = {"path": "/in/a.gz", "unit": 2, "step": "read", "reason": "cut < off"}
    text = text_of(summary=SUMMARY | {"failures": [failure]}, error="ValueError: no <disk>")
    assert {"/in/a.gz, unit 2, read", "cut < off", "ValueError: no <disk>"} <= set(text)


@pytest.mark.parametrize("missing", ["plan", "summary"])
def test_a_run_that_ended_early_has_a_page_too(missing):
    whole = {"plan": {"shards": 1}, "summary": SUMMARY}
    text = text_of(**{name: value for name, value in whole.items() if name != missing})
    assert ("Found" in text) == (missing != "plan")
    assert ("Done" in text) == (missing != "summary")
