"""`#HAL` and `#SBATCH` lines of job scripts."""

import pytest

from hal_core.errors import InvalidInput
from hal_core.parsing.script import SCRIPT_BYTES_MAX, read_script, split_words


def options_of(*lines):
    found = read_script("\n".join(("#!/bin/sh", *lines)), "job.sh").options
    return [(option.name, option.text) for option in found]


def problems_of(script):
    with pytest.raises(InvalidInput) as caught:
        read_script(script, "job.sh")
    return [str(problem) for problem in caught.value.problems]


def warnings_of(*lines):
    return [str(warning) for warning in read_script("\n".join(("#!/bin/sh", *lines)), "job.sh").warnings]


@pytest.mark.parametrize(
    ("line", "options"),
    [
        ("#HAL --time=10", [("time", "10")]), ("#SBATCH --time 10", [("time", "10")]), ("#SBATCH -t10", [("t", "10")]),
        ("#SBATCH -t 10", [("t", "10")]), ("#SBATCH -t=10", [("t", "10")]), ("#SBATCH\t-t\t10", [("t", "10")]),
        ("#HAL -H -n4", [("H", ""), ("n", "4")]), ("#HAL -Hn4", [("H", ""), ("n", "4")]), ("#HAL", []),
        ('#HAL --output="a b.txt"', [("output", "a b.txt")]), ("#HAL --comment='#1'", [("comment", "#1")]),
        ("#HAL --comment=a#b # a remark", [("comment", "a#b")]), ("#HAL # --time=10", []),
        ("#HAL --exclusive --nice=5", [("exclusive", ""), ("nice", "5")]),
        ("#HAL --exclusive -n 2", [("exclusive", ""), ("n", "2")]),
        (r"#HAL --output=a\ b", [("output", "a b")]), ('#HAL --name=""', [("name", "")]), ("##HAL --time=10", []),
        ("# SBATCH --time=10", []), ("#SBATCH --unknown 5 -n 2", [("unknown", "5"), ("n", "2")]),
    ],
)  # fmt: skip
def test_lines(line, options):
    assert options_of(line) == options


def test_both_kinds_of_lines_are_read_in_order_with_their_place():
    found = read_script("#!/bin/sh\n# a comment\n\n#SBATCH -n 1\n  # more\n#HAL -n 2\n", "job.sh").options
    assert [(option.text, option.place, option.shown_name) for option in found] == [
        ("1", "job.sh:4", "-n"),
        ("2", "job.sh:6", "-n"),
    ]


def test_lines_after_the_first_command_are_ignored_and_said_so():
    assert options_of("#HAL -n1", "hostname", "#SBATCH -n 2") == [("n", "1")]
    assert warnings_of("hostname", "", "#SBATCH -n 2") == [
        "job.sh:4: #SBATCH line after the first command is ignored, as in Slurm"
    ]
    assert len(warnings_of("hostname", *["#HAL -n 2"] * 500)) == 20


@pytest.mark.parametrize("line", ["srun ./model", "  srun -n 4 ./model", "exec srun ./model"])
def test_a_step_of_slurm_is_told(line: str) -> None:
    assert warnings_of("#HAL -n 4", "cd work", line, line) == [
        "job.sh:4: srun works in Slurm alone; where HAL runs the job, --spread=task runs the script once for each task"
    ]


@pytest.mark.parametrize("line", ["# srun ./model", "echo srun ./model", "srunner x", "srun=1", "mpirun ./model"])
def test_what_only_looks_like_a_step_is_not(line: str) -> None:
    assert warnings_of("#HAL -n 4", line) == []


@pytest.mark.parametrize("line", ["  #SBATCH -n 2", "#SBATCH--time=10", "#sbatch --time=10", "#Hal -n 2", "#PBS -l x"])
def test_lines_that_look_like_options_are_not_ignored_silently(line):
    assert options_of(line) == []
    assert "is not read" in warnings_of(line)[0]


@pytest.mark.parametrize(
    ("script", "word"),
    [
        ("", "is empty"), (" \n\n", "is empty"), ("hostname\n", "first line is 'hostname'"),
        ("#!/bin/sh\r\nhostname\r\n", "Windows"),
        ("\x7fELF\0\0", "binary"), ("#!/bin/sh\n\0", "NUL"), ("\ufeff#!/bin/sh\n", "byte order mark"),
        ("#!\nx", "interpreter"),
        ("#!sh\nx", "interpreter"), ("#!/bin/sh\n\udcff", "not UTF-8"), (" #!/bin/sh", "first line"),
    ],
)  # fmt: skip
def test_no_scripts(script, word):
    (problem,) = problems_of(script)
    assert problem.startswith("job.sh: ")
    assert word in problem


def test_a_windows_line_is_named_with_the_remedy():
    (problem,) = problems_of("#!/bin/sh\nhostname\r\n")
    assert "line 2" in problem
    assert r"sed -i 's/\r$//' job.sh" in problem


def test_size():
    assert read_script("#!/bin/sh\n".ljust(SCRIPT_BYTES_MAX, "x"), "job.sh").options == ()
    assert "larger than 4 MiB" in problems_of("#!/bin/sh\n".ljust(SCRIPT_BYTES_MAX + 1, "x"))[0]
    assert "larger than 4 MiB" in problems_of("#!/bin/sh\n".ljust(SCRIPT_BYTES_MAX - 10, "ä"))[0]


def test_every_bad_line_is_told():
    problems = problems_of("#!/bin/sh\n#HAL --time\n#HAL -n 2\n#HAL --output='x\n#SBATCH job.sh\n#HAL --x=\\\n")
    assert [problem.partition(": ")[0] for problem in problems] == ["job.sh:2", "job.sh:4", "job.sh:5", "job.sh:6"]
    assert "--time needs a value" in problems[0]
    assert "not closed" in problems[1]
    assert "not an option" in problems[2]
    assert "backslash" in problems[3]


def test_bounds():
    assert "longer than" in problems_of("#!/bin/sh\n#HAL --comment=" + "x" * 70_000)[0]
    assert "at most 1000 options" in problems_of("#!/bin/sh\n" + "#HAL -n 1\n" * 1001)[0]


def test_words():
    assert split_words("""a "b c" 'd\\e' f\\"g "h\\"i" """) == ["a", "b c", "d\\e", 'f"g', 'h"i']
    assert split_words("a''b '' # c") == ["ab", ""]


@pytest.mark.parametrize("name", ["--" + "j" * 5000, "--\x1b[31m", "-\x07"])
def test_an_option_that_cannot_be_printed_is_shown_so_that_it_can_be(name):
    (option,) = read_script(f"#!/bin/sh\n#SBATCH {name}=1\n", "job.sh").options
    assert option.shown_name.isprintable()
    assert len(option.shown_name) < 200
