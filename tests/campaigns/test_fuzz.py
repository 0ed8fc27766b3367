"""The short version of the fuzzing campaign."""

from __future__ import annotations

import random

import pytest

from tests.campaigns.fuzz import TARGETS, fuzz

INPUTS = 300


@pytest.mark.parametrize("name", TARGETS)
def test_a_reader_takes_an_input_or_refuses_it_properly(name: str) -> None:
    seed = random.randrange(1 << 32)
    count, problems = fuzz(name, seed, lambda count: count >= INPUTS)
    assert not problems, f"seed {seed}"
    assert count == INPUTS


def test_the_good_examples_are_taken() -> None:
    for name, target in TARGETS.items():
        for example in target.corpus:
            try:
                target.read(example)
            except target.refusals as error:
                pytest.fail(f"{name} refuses its own example {example!r}: {error}")
