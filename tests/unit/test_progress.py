"""The line of progress: what it says, and that a file never gets one."""

from __future__ import annotations

import io

from hal_core.client.progress import Progress, clock, line


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_line_tells_share_rate_and_time_left():
    assert line(0, 100, 0.0, 1.0) == "[                        ] 0/100 0/s --:-- left"
    assert line(50, 100, 25.0, 2.0) == "[############            ] 50/100 25/s 0:02 left"
    assert line(100, 100, 1.5, 65.0) == "[########################] 100/100 1.5/s 1:05"
    assert line(0, 0, 0.0, 0.0).endswith("0/0 0/s 0:00")
    assert len(line(10**8, 10**9, 300_000.0, 1e6)) <= 80


def test_hours_have_their_place():
    assert (clock(59.6), clock(3600), clock(None)) == ("1:00", "1:00:00", "--:--")


def test_a_terminal_gets_the_last_line_and_a_file_nothing():
    terminal, file = Terminal(), io.StringIO()
    with Progress(lambda: (3, 3), terminal), Progress(lambda: (3, 3), file):
        pass
    assert terminal.getvalue().endswith("\n")
    assert "3/3" in terminal.getvalue()
    assert file.getvalue() == ""
