"""The tasks a client waits for, against a model that keeps a set for each who waits."""

from __future__ import annotations

from hypothesis import given, strategies as st

from hal_core.client.session_chunks import Chunk, Chunks
from hal_core.client.session_sinks import ResultSink
from hal_core.models.ranges import RangeSet

TASKS_MAX = 60
SPAN = (
    st.tuples(st.integers(0, TASKS_MAX), st.integers(0, TASKS_MAX)).map(sorted).filter(lambda span: span[0] < span[1])
)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.lists(SPAN, max_size=4), st.lists(SPAN, max_size=12))
def test_each_result_reaches_everybody_who_waits_for_it_once(sent, fetched, settled):
    chunks, waiting = Chunks(), {}

    def chunk(first, count):
        made = Chunk(first, count, 1, ResultSink(), 0, count, settled=RangeSet())
        waiting[id(made)] = set(range(first, first + count))
        return made

    for count in sent:
        chunks.submit(chunk(chunks.task_count, count))
    for start, stop in fetched:
        chunks.fetch(chunk(start, stop - start))
    assert chunks.task_count == sum(sent)
    for start, stop in settled:
        told = {}
        for each, first, last in chunks.settle(start, stop):
            told.setdefault(id(each), []).extend(range(first, last))
        for key, left in waiting.items():
            new = sorted(left & set(range(start, stop)))
            assert told.get(key, []) == new
            left.difference_update(new)
        assert chunks.unsettled_count == sum(map(len, waiting.values()))
        assert chunks.unsettled_bytes == sum(map(bool, waiting.values()))
        wanted = RangeSet()
        for left in waiting.values():
            wanted.update((task, task + 1) for task in left)
        assert chunks.wanted(TASKS_MAX + 1) == wanted.ranges()
