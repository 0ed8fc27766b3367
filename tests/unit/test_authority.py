"""The certificate authority: tokens work once, certificates name one node, and keys are closed to others."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given, strategies as st

from hal_core.errors import Refused
from hal_core.wire import certificates
from hal_core.wire.authority import Authority, JoinToken
from hal_core.wire.private_files import check_private, read_private, write_private

NOW_S = 1_800_000_000.0


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.create(tmp_path / "ca", "test", NOW_S)


def request_of(node: str) -> bytes:
    return certificates.make_request(certificates.make_key(), node)


def test_a_token_makes_one_certificate_for_its_node(authority: Authority) -> None:
    token = JoinToken.parse(authority.make_token("n1", NOW_S, by="root").text())
    enrolled = authority.enrol(token.secret, request_of("somebody else"), NOW_S)
    node, pem = enrolled.node, enrolled.pem
    assert enrolled.by == "root"
    assert node == "n1"
    names = x509.load_pem_x509_certificate(pem).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["hal-node:n1"]
    with pytest.raises(Refused, match="not known"):
        authority.enrol(token.secret, request_of("n1"), NOW_S)


def test_a_token_expires_and_is_spent_by_trying(authority: Authority) -> None:
    token = authority.make_token("n1", NOW_S, life_s=60.0)
    with pytest.raises(Refused, match="expired"):
        authority.enrol(token.secret, request_of("n1"), NOW_S + 61)
    with pytest.raises(Refused, match="not known"):
        authority.enrol(token.secret, request_of("n1"), NOW_S)


def test_only_the_hash_of_a_secret_is_kept(authority: Authority) -> None:
    token = authority.make_token("n1", NOW_S)
    files = [path for path in authority.directory.rglob("*") if path.is_file()]
    everything = b"".join(path.read_bytes() + path.name.encode() for path in files)
    assert token.secret.encode() not in everything


def test_revoking_voids_certificates_and_tokens_of_that_node_only(authority: Authority) -> None:
    serials = {}
    for node in ("n1", "n2"):
        pem = authority.issue(node, request_of(node), NOW_S)
        serials[node] = x509.load_pem_x509_certificate(pem).serial_number
    token = authority.make_token("n1", NOW_S)
    other = authority.make_token("n2", NOW_S)
    assert authority.revoke("n1", "root") == 2
    assert list(authority.revocations().values()) == [("n1", "root")]
    assert authority.revoked() == {serials["n1"]}
    assert authority.revoke("n1") == 0
    with pytest.raises(Refused, match="not known"):
        authority.enrol(token.secret, request_of("n1"), NOW_S)
    assert authority.enrol(other.secret, request_of("n2"), NOW_S).node == "n2"
    again = authority.issue("n1", request_of("n1"), NOW_S)
    assert x509.load_pem_x509_certificate(again).serial_number not in authority.revoked()


def test_what_is_revoked_renews_nothing(authority: Authority) -> None:
    serial = x509.load_pem_x509_certificate(authority.issue("n1", request_of("n1"), NOW_S)).serial_number
    renewed = x509.load_pem_x509_certificate(authority.renew("n1", serial, request_of("n1"), NOW_S)).serial_number
    assert authority.revoke("n1") == 2
    for each in (serial, renewed):
        with pytest.raises(Refused, match="n1 was revoked"):
            authority.renew("n1", each, request_of("n1"), NOW_S)


def test_there_is_one_authority_and_it_is_not_made_by_accident(authority: Authority, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="already"):
        Authority.create(authority.directory, "test", NOW_S)
    with pytest.raises(Refused, match="hal ca init"):
        Authority(tmp_path / "elsewhere")


def test_the_daemon_certificate_is_renewed_in_time(authority: Authority) -> None:
    before = read_private(authority.directory / "daemon.pem")
    assert not authority.renew_daemon(NOW_S + certificates.DAEMON_LIFE_S / 2)
    assert authority.renew_daemon(NOW_S + certificates.DAEMON_LIFE_S * 0.7)
    assert read_private(authority.directory / "daemon.pem") != before


def _open_key(directory: Path) -> Path:
    (directory / "authority.key").chmod(0o644)
    return directory / "authority.key"


def _group_writable(directory: Path) -> Path:
    directory.chmod(0o770)
    return directory


def _linked_key(directory: Path) -> Path:
    key = directory / "daemon.key"
    key.rename(directory / "real")
    key.symlink_to("real")
    return key


def _foreign_key(directory: Path) -> Path:
    os.chown(directory / "daemon.key", 12345, 12345)
    return directory / "daemon.key"


def _open_tokens(directory: Path) -> Path:
    (directory / "tokens").chmod(0o777)
    return directory / "tokens"


@pytest.mark.root
@pytest.mark.parametrize("spoil", [_open_key, _group_writable, _linked_key, _foreign_key, _open_tokens])
def test_files_that_others_can_reach_are_refused_by_name(authority: Authority, spoil) -> None:
    path = spoil(authority.directory)
    with pytest.raises(Refused) as caught:
        Authority(authority.directory)
    assert str(path) in str(caught.value)


def test_a_private_file_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "key"
    write_private(path, b"one")
    write_private(path, b"two")
    assert read_private(path) == b"two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(Refused, match="is not there"):
        check_private(tmp_path / "none")


@pytest.mark.parametrize("request_pem", [b"", b"x", b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n"], ids=repr)
def test_what_is_no_request_is_refused(authority: Authority, request_pem: bytes) -> None:
    with pytest.raises(Refused, match="request"):
        authority.issue("n1", request_pem, NOW_S)


@given(st.one_of(st.text(), st.binary().map(lambda data: "hal-join-1." + base64.urlsafe_b64encode(data).decode())))
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="join token"):
        JoinToken.parse(text)
