"""The rows of nodes against a plain list: however they are moved, one by one or as wide sets, both say the same."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings, strategies as st

from hal_core.models.masks import mask_of, members_of
from hal_core.models.node_rows import WIDE, NodeRows
from hal_core.models.row_fields import FIELD_BITS

NODES = 4 * WIDE
CLASS_SHIFT = 2 * FIELD_BITS
CLASSES = 3


def row(kind: int) -> int:
    """One of several classes, with few CPUs free and some memory."""
    return kind % CLASSES << CLASS_SHIFT | kind << FIELD_BITS | kind % 4


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
    plain = [random.choice((-1, *map(row, range(kinds)))) for _ in range(NODES)]
    rows = NodeRows(list(plain), CLASS_SHIFT)
    for _ in range(20):
        what = random.choice(("move", "move", "move", "put", "settle", "copy"))
        numbers = gang(random)
        if what == "move":
            groups = rows.groups(numbers, random.choice((0, mask_of(numbers) if len(numbers) >= WIDE else 0)))
            assert sorted(n for _, bits, _ in groups for n in members_of(bits)) == numbers
            for old, bits, its in groups:
                assert {plain[number] for number in members_of(bits)} == {old}
                if old >= 0:
                    new = row(random.randrange(kinds))
                    rows.move((old, bits, its), new)
                    for number in members_of(bits):
                        plain[number] = new
        elif what == "put":
            new = random.choice((-1, row(random.randrange(kinds))))
            rows.put(numbers[0], new)
            plain[numbers[0]] = new
        elif what == "settle":
            rows.settle()
        else:
            older, before = rows, list(plain)
            rows = rows.copy()
            for number in numbers:
                rows.put(number, row(0))
                plain[number] = row(0)
            check(older, before)
        check(rows, plain)
