"""Where the daemon is looked for. Daemon and clients must agree, so both ask the same function."""

import pytest
from hypothesis import given, strategies as st

from hal_core.client.address import SYSTEM_SOCKET, candidates, default_socket, find_socket


def test_the_nearest_comes_first():
    environ = {"XDG_RUNTIME_DIR": "/run/user/7", "HOME": "/home/ada"}
    assert candidates(environ) == ["/run/user/7/hal/hal.sock", "/home/ada/.hal/run/hal.sock", SYSTEM_SOCKET]
    assert candidates({"HOME": "/home/ada"})[0] == "/home/ada/.hal/run/hal.sock"
    assert candidates({}) == [SYSTEM_SOCKET]


@pytest.mark.parametrize("given_as", ["/x/hal.sock", "unix:/x/hal.sock", "unix:///x/hal.sock"])
def test_hal_server_wins(given_as):
    environ = {"HAL_SERVER": given_as, "HOME": "/home/ada"}
    assert (find_socket(environ), default_socket(environ)) == ("/x/hal.sock", "/x/hal.sock")


@pytest.mark.parametrize("given_as", ["https://hal.example.org:8443", "https://[::1]:8443", "http://127.0.0.1:80"])
def test_a_daemon_on_another_machine(given_as):
    environ = {"HAL_SERVER": given_as, "HOME": "/home/ada"}
    assert find_socket(environ) == given_as
    assert default_socket(environ) == "/home/ada/.hal/run/hal.sock"  # a daemon listens on its own machine


@pytest.mark.parametrize(
    "given_as",
    [
        "https://hal.example.org", "https://:8443", "https://a:b", "https://a:0", "https://a:65536", "https://a:1_0",
        "https://user@a:1", "https://a/b:1", "http://hal.example.org:80", "http://10.0.0.1:80", "https://",
    ],
)  # fmt: skip
def test_an_address_that_cannot_be_is_told(given_as):
    with pytest.raises(ValueError, match="write https://host:port"):
        find_socket({"HAL_SERVER": given_as})


@pytest.mark.parametrize("given_as", ["hal.sock", "ftp://localhost", "unix:hal.sock", "unix://host/x"])
def test_another_kind_of_address_is_refused_by_what_would_work(given_as):
    with pytest.raises(ValueError, match="absolute path"):
        find_socket({"HAL_SERVER": given_as})


def test_a_client_takes_the_first_that_exists(tmp_path):
    environ = {"XDG_RUNTIME_DIR": str(tmp_path / "run"), "HOME": str(tmp_path)}
    assert find_socket(environ) == str(tmp_path / "run/hal/hal.sock")
    (tmp_path / ".hal/run").mkdir(parents=True)
    (tmp_path / ".hal/run/hal.sock").touch()
    assert find_socket(environ) == str(tmp_path / ".hal/run/hal.sock")


@given(st.dictionaries(st.sampled_from(["XDG_RUNTIME_DIR", "HOME"]), st.sampled_from(["/nowhere-a", "/nowhere-b"])))
def test_daemon_and_client_agree_while_nothing_is_there(environ):
    if not any(map(_exists, candidates(environ))):
        assert find_socket(environ) == default_socket(environ)


def _exists(path: str) -> bool:
    from pathlib import Path

    return Path(path).exists()
