from __future__ import annotations

from study.progress import Progress


def test_time_left_follows_the_pace_of_what_was_computed_now():
    now, lines = [0.0], []
    progress = Progress(lines.append, work=10, clock=lambda: now[0])
    with progress.part("read", 4):
        now[0] += 0.1
    assert lines == []
    with progress.part("made", 2):
        now[0] += 60
    assert lines == ["made: 60 s; 2 min left in this step, if nothing more is cached"]
