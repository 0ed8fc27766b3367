"""The agent's book: the newest epoch survives, and a damaged one is refused by the name of its file."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from hal_core.agent.book import Book
from hal_core.errors import Refused


def test_the_newest_epoch_is_kept(tmp_path: Path) -> None:
    book = Book(tmp_path)
    assert book.epoch == 0
    for epoch in (1, 9, 10, 12_345):
        book.raise_epoch(epoch)
        assert (book.epoch, Book(tmp_path).epoch) == (epoch, epoch)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 200), st.integers(0, 7), st.booleans())
def test_a_damaged_epoch_is_refused(tmp_path: Path, place: int, bit: int, is_cut: bool) -> None:
    """Read as a lower one, orders of a daemon that was replaced would be obeyed."""
    path = tmp_path / "epoch"
    path.unlink(missing_ok=True)
    Book(tmp_path).raise_epoch(1234)
    content = bytearray(path.read_bytes())
    place %= len(content)
    if is_cut:
        del content[place:]
    else:
        content[place] ^= 1 << bit
    path.write_bytes(content)
    with pytest.raises(Refused, match=r"epoch is damaged"):
        Book(tmp_path)
