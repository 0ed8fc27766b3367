"""The rows of nodes against a plain list: however they are moved, one by one or as wide sets, both say the same."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings, strategies as st

from hal_core.models.masks import mask_of, members_of
from hal_core.models.node_rows import WIDE, NodeRows

NODES = 4 * WIDE


def gang(random: Random) -> list[int]:
    """Neighbours, or nodes from all over; some of them few, some wide."""
    count = random.choice((1, 2, WIDE - 1, WIDE, WIDE + 1, 2 * WIDE))
    if random.random() < 0.5:
        first = random.randrange(NODES - count + 1)
        return list(range(first, first + count))
    return sorted(random.sample(range(NODES), count))


def check(rows: NodeRows, plain: list[int]) -> None:
    assert [rows.row(number) for number in range(NODES)] == plain
    found = {number: row for row, members in rows for number in members_of(members)}
    assert found == {number: row for number, row in enumerate(plain) if row >= 0}
    assert len(rows) == len({row for row in plain if row >= 0})


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1 << 32))
def test_rows_are_what_a_plain_list_says(seed: int) -> None:
    random = Random(seed)
    kinds = random.choice((2, 40))
    plain = [random.choice((-1, *range(kinds))) for _ in range(NODES)]
    rows = NodeRows(list(plain))
    for _ in range(20):
        what = random.choice(("move", "move", "move", "put", "settle", "copy"))
        numbers = gang(random)
        if what == "move":
            groups = rows.groups(numbers, random.choice((0, mask_of(numbers) if len(numbers) >= WIDE else 0)))
            assert sorted(n for _, bits, _ in groups for n in members_of(bits)) == numbers
            for row, bits, its in groups:
                assert {plain[number] for number in members_of(bits)} == {row}
                if row >= 0:
                    new = random.randrange(kinds)
                    rows.move((row, bits, its), new)
                    for number in members_of(bits):
                        plain[number] = new
        elif what == "put":
            new = random.choice((-1, random.randrange(kinds)))
            rows.put(numbers[0], new)
            plain[numbers[0]] = new
        elif what == "settle":
            rows.settle()
        else:
            older, before = rows, list(plain)
            rows = rows.copy()
            for number in numbers:
                rows.put(number, 0)
                plain[number] = 0
            check(older, before)
        check(rows, plain)
