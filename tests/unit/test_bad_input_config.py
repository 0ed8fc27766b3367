"""Files that are no configuration: each is refused with its place, at once, and nothing of it is executed or shown."""

import os
import time

import pytest
from hypothesis import given, settings, strategies as st

from hal_core.config.document import BYTES_MAX, decode
from hal_core.config.reading import parse_configuration, read_configuration
from hal_core.errors import InvalidInput
from tests.support.small_configuration import SMALL


def refusal(text):
    with pytest.raises(InvalidInput) as caught:
        parse_configuration(text, "c.yaml")
    return str(caught.value)


def file_refusal(path, content):
    path.write_bytes(content)
    with pytest.raises(InvalidInput) as caught:
        read_configuration(path)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "place", "word"),
    [
        ("nodes:\n\t- names: n1\n", "c.yaml:2:1", "tab"), ("a: [1,\n\tb]\n\t\tc", "c.yaml", ""),
        ("a: 1\nb: [\n", "c.yaml:3:1", "is not YAML"), ("a: 'x\n", "c.yaml:2:1", "is not YAML"),
        ("a: b: c\n", "c.yaml:1:5", "is not YAML"), ("a: 1\n---\nb: 2\n", "c.yaml:2:1", "second document"),
        ("", "c.yaml", "is empty"), ("# nothing\n", "c.yaml", "is empty"), ("---\n", "c.yaml", "is empty"),
        ("- 1\n", "c.yaml:1:1", "must be a mapping"), ("text\n", "c.yaml:1:1", "must be a mapping"),
        ("engine: eazy\n", "c.yaml:1:1", "such as name, options; as in engine: {name: eazy}"),
        ("? [a]\n: 1\n", "c.yaml:1:3", "plain text"), (": 1\n", "c.yaml:1:1", "is not YAML"),
        ("~: 1\n", "c.yaml:1:1", "no key '~'"),
        ("a: &x 1\n<<: *x\n", "c.yaml:2:1", "merge keys"), ("a: *nothing\n", "c.yaml:1:4", "refers to nothing"),
        ("a: &x [*x]\n", "c.yaml:1:8", "refers to nothing"), ("a: !!int 3\n", "c.yaml:1:4", "tag"),
        ("a: !!python/object/apply:os.system [touch /tmp/owned]\n", "c.yaml:1:4", "tag"),
        ("a: !x\n", "c.yaml:1:4", "tag"),
        ("a: \x07\n", "c.yaml:1:4", "does not allow"), ("a: \ufeff\n", "c.yaml:1:4", "does not allow"),
        ("a: \udcff\n", "c.yaml:1:4", "does not allow"), ("nodes: {names: n[1-4]}\n", "c.yaml:1:17", "needs quotes"),
        ("%YAML 9.9\n---\na: 1\n", "c.yaml", ""), ("@a: 1\n", "c.yaml:1:1", "is not YAML"),
        ("include: /etc/shadow\n", "c.yaml:1:1", "no key 'include'"),
    ],
)  # fmt: skip
def test_no_configuration(text, place, word):
    message = refusal(text)
    assert message.startswith(place)
    assert word in message
    assert message.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    "cpus", ["0", "-1", "1000000000", ".inf", ".nan", "1.0", "1e3", "0x10", "1_0", "true", "~", '""', "[1]"]
)
def test_numbers_of_cpus(cpus):
    assert refusal(SMALL.replace("cpus: 4", f"cpus: {cpus}")).startswith("c.yaml:3:")


@pytest.mark.parametrize("names", ["n[1-]", "n[9-1]", "n[1-100000000]", "n[", "../x", "n 1", "~", "{a: 1}"])
def test_names_of_nodes(names):
    assert "c.yaml:2:" in refusal(SMALL.replace("n[1-2]", names))


def test_alias_bomb():
    levels = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 6)]
    begin = time.thread_time()
    assert "more than 10 aliases" in refusal("\n".join(["l0: &l0 [1, 2, 3]", *levels]))
    assert time.thread_time() - begin < 0.5


def test_aliases_that_grow_within_their_number():
    text = "a: &a [" + "x," * 100_000 + "]\nb: &b [*a,*a,*a]\nc: &c [*b,*b,*b]\nd: [*c,*c,*c]\n"
    assert "grows too large" in refusal(text)


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "a:\n"])
def test_depth(opening):
    text = "".join(" " * n + opening for n in range(1000)) if opening == "a:\n" else opening * 3000
    begin = time.thread_time()
    assert refusal(text if opening == "a:\n" else "x: " + text if opening != "- " else text)
    assert time.thread_time() - begin < 0.5


def test_size():
    begin = time.thread_time()
    assert "more than 1 MiB" in refusal("a: " + "x" * BYTES_MAX)
    assert refusal("a: " + "x" * (BYTES_MAX - 100))
    assert "more than 200 problems" in refusal("".join(f"k{n}: 1\n" for n in range(50_000)))
    assert time.thread_time() - begin < 10


def test_encodings(tmp_path):
    path = tmp_path / "c.yaml"
    assert "UTF-16" in file_refusal(path, SMALL.encode("utf-16"))
    assert "byte order mark" in file_refusal(path, SMALL.encode("utf-8-sig"))
    assert f"{path}:2:4: is not UTF-8" in file_refusal(path, b"a: 1\nb: \xff\n")
    assert "more than 1 MiB" in file_refusal(path, b"#" * (BYTES_MAX + 1))
    assert decode("ü".encode(), "x") == "ü"


def test_what_stands_where_a_section_should_is_not_repeated_at_any_length():
    assert len(refusal("nodes:\n  - " + "nam- " * 4000)) < 400


def test_a_file_that_everybody_may_change_is_refused(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(SMALL)
    path.chmod(0o664)
    assert read_configuration(path).cluster.nodes
    path.chmod(0o666)
    with pytest.raises(InvalidInput, match=f"chmod o-w {path}"):
        read_configuration(path)


def test_what_is_no_file_is_refused_without_waiting(tmp_path):
    with pytest.raises(InvalidInput, match="No such file"):
        read_configuration(tmp_path / "missing.yaml")
    with pytest.raises(InvalidInput, match="directory"):
        read_configuration(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidInput, match="not a regular file"):
        read_configuration(tmp_path / "pipe")
    with pytest.raises(InvalidInput, match="not a regular file"):
        read_configuration("/dev/zero")


@given(st.text(st.one_of(st.sampled_from("\n :-[]{}&*!?#'\"|>%@`,~ab1"), st.characters()), max_size=100))
@settings(max_examples=500)
def test_no_text_breaks_the_reader(text):
    for given_text in (text, f"nodes: {text}", SMALL + text, SMALL.replace("main", text)):
        try:
            parse_configuration(given_text, "c.yaml")
        except InvalidInput as error:
            places = [problem.place for problem in error.problems]
        else:
            places = []
        assert all(place.startswith("c.yaml") for place in places)
