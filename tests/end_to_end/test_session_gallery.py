"""What people do with sessions, small: sweeps, Monte Carlo, a resident model, commands, workers in other languages."""

from __future__ import annotations

import math
import random
import re
import shutil
import subprocess
from functools import partial
from importlib.util import find_spec

import pytest

from hal_core.client import CommandEnd, PipeProgram, session
from hal_core.errors import TaskFailed
from tests.support.needs import need
from tests.tidy.tree import ROOT

PAGE = ROOT / "docs/reference/session-pipes.md"


@pytest.fixture(scope="module")
def opened():
    with session(workers=2, server="local") as made:
        yield made


def example(name: str) -> str:
    found = re.search(rf"<!-- example: {name} -->\n```\w+\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found, f"no example {name} in {PAGE}"
    return found.group(1)


class Model:
    """A model whose loading would take long. It counts its loads and its calls."""

    def __init__(self, path):
        self.path = path

    def __enter__(self):
        with open(self.path, "ab") as file:
            file.write(b"load ")
        self.weights = [2.0, -1.0, 0.5]
        return self

    def __exit__(self, *_):
        with open(self.path, "ab") as file:
            file.write(b"leave ")

    def total(self, features):
        return sum(features)

    def scaled(self, number, by):
        return number * by

    def __call__(self, features):
        return sum(weight * feature for weight, feature in zip(self.weights, features, strict=True))


class Unloadable:
    """A model whose file is not there."""

    def __enter__(self):
        raise FileNotFoundError("weights.bin")

    def __exit__(self, *_):
        pass

    def __call__(self, item):
        return item


def price(arguments):
    """A call option by Monte Carlo, one seed for each cell of the grid."""
    spot, strike, seed = arguments
    chance = random.Random(seed)
    paths = (spot * math.exp(-0.02 + 0.2 * chance.gauss(0, 1)) for _ in range(2000))
    return sum(max(path - strike, 0.0) for path in paths) / 2000


def eigenvalues(matrix):
    import numpy

    return numpy.linalg.eigvalsh(matrix)


def test_a_parameter_sweep_with_numpy(opened):
    need("" if find_spec("numpy") else "needs numpy")
    import numpy

    matrices = [numpy.diag([float(size), 1.0, -1.0]) for size in range(2, 50)]
    for size, found in enumerate(opened.map(eigenvalues, matrices), 2):
        assert found.tolist() == [-1.0, 1.0, float(size)]


def test_a_grid_of_monte_carlo_prices_is_the_same_as_here(opened):
    grid = [(spot, strike, spot * 1000 + strike) for spot in (90, 100, 110) for strike in (95, 105)]
    prices = list(opened.map(price, grid))
    assert prices == [price(cell) for cell in grid]
    assert prices[-2] > prices[0]


def test_a_model_is_loaded_once_in_each_worker_and_left_at_the_end(tmp_path):
    log = tmp_path / "log"
    with session(workers=2, server="local") as own:
        model = Model(str(log))
        results = list(own.map(model, [(1.0, number, 2.0) for number in range(2000)]))
        assert results == [3.0 - number for number in range(2000)]
        assert 1 <= log.read_bytes().count(b"load") <= 2
    words = log.read_text().split()
    assert words.count("leave") == words.count("load")


def test_a_model_that_cannot_be_loaded_fails_its_tasks_and_not_the_worker(opened):
    with pytest.raises(FileNotFoundError, match=r"weights\.bin"):
        list(opened.map(Unloadable(), [1]))
    assert list(opened.map(abs, [-1])) == [1]


class Table:
    """Common data that counts how often it was read from its bytes."""

    def __init__(self, path, factor):
        self.path, self.factor = path, factor

    def __setstate__(self, state):
        self.__dict__.update(state)
        with open(self.path, "ab") as file:
            file.write(b"%d " % self.factor)


def scaled(table, number):
    return table.factor * number


def test_common_data_is_read_once_by_each_worker_and_a_new_version_is_seen_by_what_follows(opened, tmp_path):
    log = tmp_path / "log"
    table = opened.share(Table(str(log), 2))
    before = opened.map(partial(scaled, table), range(3000))
    assert table.update(Table(str(log), 5)) == 2
    after = opened.map(partial(scaled, table), range(3000))
    assert list(after) == [5 * number for number in range(3000)]
    assert list(before) == [2 * number for number in range(3000)]
    assert opened.submit(scaled, table, 3).result(timeout=60) == 15
    reads = log.read_text().split()
    assert reads.count("5") <= 2
    assert table.value.factor == 5


def test_a_service_is_made_once_in_each_worker_whatever_is_called_and_left_at_the_end(tmp_path):
    log = tmp_path / "log"
    with session(workers=2, server="local") as own:
        model = own.service(Model, str(log))
        sums = list(own.map(model.total, [(1.0, number) for number in range(2000)]))
        assert sums == [1.0 + number for number in range(2000)]
        urgent = own.using(priority=3)
        assert urgent.submit(model.scaled, 4.0, by=2).result(timeout=60) == 8.0
        assert 1 <= log.read_bytes().count(b"load") <= 2
    words = log.read_text().split()
    assert words.count("leave") == words.count("load")


def test_command_lines_are_processes_with_exit_codes_and_output(opened):
    commands = [["sh", "-c", f"echo out {number}; echo err >&2; exit {number}"] for number in range(5)]
    ends = list(opened.run(commands))
    assert ends == [CommandEnd(number, b"out %d\nerr\n" % number) for number in range(5)]
    assert next(opened.run([["sh", "-c", "kill -9 $$"]])).exit_code == 137
    long = next(opened.run([["sh", "-c", "head -c 3000000 /dev/zero; printf end"]]))
    assert len(long.output) == 1 << 20
    assert long.output.endswith(b"\0end")


def test_a_command_that_cannot_be_started_is_an_error_in_words(opened):
    with pytest.raises(TaskFailed, match=r"\['/no/such'\] cannot be started: .*No such file"):
        next(opened.run([["/no/such"]]))


def test_a_worker_in_c(opened, tmp_path):
    need("" if shutil.which("cc") else "needs a C compiler: install gcc")
    (tmp_path / "worker.c").write_text(example("c-worker"))
    subprocess.run(["cc", "-O2", "-Wall", "-Werror", "-o", tmp_path / "worker", tmp_path / "worker.c"], check=True)
    items = [bytes([number % 256]) * (number % 50) for number in range(2000)]
    program = PipeProgram([str(tmp_path / "worker")])
    assert list(opened.map(program, items)) == [b"%d" % sum(byte * byte for byte in item) for item in items]


def test_a_worker_in_shell(opened, tmp_path):
    (tmp_path / "worker").write_text(example("shell-worker"))
    (tmp_path / "worker").chmod(0o755)
    items = ["one", "", "two\nlines", "grün"]
    program = PipeProgram([str(tmp_path / "worker")])
    assert list(opened.map(program, items)) == [b"ONE", b"", b"TWO\nLINES", "GRüN".encode()]


def test_programs_that_break_the_protocol_fail_their_task_only(opened, tmp_path):
    worker = tmp_path / "worker"
    worker.write_text(
        "#!/bin/sh\nwhile read -r _ length; do\n"
        'item=$(dd bs=1 count="$length" 2>/dev/null)\n'
        'case "$item" in\n'
        "die) exit 3;;\n"
        "babble) echo hello;;\n"
        "fail) printf 'error 4\\nnope';;\n"
        "*) printf 'result 2\\nok';;\nesac\ndone\n"
    )
    worker.chmod(0o755)
    results = opened.map(PipeProgram([str(worker)]), ["die", "good", "babble", "good", "fail", "good"])
    for place, text in [(0, r"answered b'' b''.*exit code 3"), (2, "no `result LENGTH`"), (4, "^nope$")]:
        with pytest.raises(TaskFailed, match=text):
            results[place]
    assert [results[place] for place in (1, 3, 5)] == [b"ok"] * 3
    with pytest.raises(TaskFailed, match="cannot be started: No such file"):
        next(opened.map(PipeProgram(["/no/such"]), ["item"]))
