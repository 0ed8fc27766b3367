"""The generic cloud without a network: its options, what it makes of errors, and that it keeps secrets."""

from __future__ import annotations

import pytest
from libcloud.common.exceptions import BaseHTTPError, RateLimitReachedError
from libcloud.common.types import InvalidCredsError, MalformedResponseError
from requests.exceptions import ConnectionError as RequestsConnectionError, ReadTimeout

from hal_cloud_libcloud.drivers import drivers_of, find_driver
from hal_cloud_libcloud.options import LibcloudOptions
from hal_cloud_libcloud.provider import LibcloudMachines
from hal_core import InvalidInput, NoCapacity, NotFound, PluginError, Refused, Unavailable, structure_options
from hal_core.fleet.failures import failure_of

CANARY = "canary-51c0ffee"
SMALL = {"name": "small", "size": "1", "count_max": 2, "cpu_count": 2}


def options(**changes):
    given = {"driver": "dummy", "name_prefix": "lab", "image": "1", "offers": [SMALL], **changes}
    return structure_options(LibcloudOptions, given, "libcloud")


def creds(tmp_path):
    path = tmp_path / "creds"
    path.write_text(CANARY)
    path.chmod(0o600)
    return {"creds": {"file": str(path)}}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RateLimitReachedError(429, "", headers={"retry-after": "7"}), Unavailable),
        (BaseHTTPError(503, "RequestLimitExceeded: Request limit exceeded."), Unavailable),
        (BaseHTTPError(400, "Throttling: Rate exceeded"), Unavailable),
        (BaseHTTPError(500, "InsufficientInstanceCapacity: We currently do not have sufficient"), NoCapacity),
        (BaseHTTPError(400, "VcpuLimitExceeded: You have requested more vCPU capacity than your limit"), NoCapacity),
        (BaseHTTPError(403, "Quota exceeded for cores: Requested 8, but already used 48 of 50"), NoCapacity),
        (BaseHTTPError(422, "creating this droplet will exceed your droplet limit"), NoCapacity),
        (BaseHTTPError(409, "SkuNotAvailable: the requested size is currently not available"), NoCapacity),
        (BaseHTTPError(503, "ZONE_RESOURCE_POOL_EXHAUSTED"), NoCapacity),
        (InvalidCredsError("AuthFailure: not you"), Refused),
        (BaseHTTPError(403, "UnauthorizedOperation: you may not"), Refused),
        (BaseHTTPError(400, "InvalidAMIID.NotFound: no such image"), Refused),
        (BaseHTTPError(502, "<html>bad gateway</html>"), Unavailable),
        (RequestsConnectionError("refused"), Unavailable),
        (ReadTimeout("timed out"), Unavailable),
        (TimeoutError("timed out"), Unavailable),
        (MalformedResponseError("Failed to parse XML", body="<"), PluginError),
        (KeyError("instancesSet"), PluginError),
    ],
)
def test_what_a_driver_raises_is_one_of_our_errors(error, kind):
    failure = failure_of(error, "create x", "clouds.libcloud.credentials")
    assert type(failure) is kind, failure
    assert "create x" in str(failure)
    if isinstance(failure, Unavailable):
        assert failure.retry_after_s == (7 if isinstance(error, RateLimitReachedError) else failure.retry_after_s)
        assert failure.retry_after_s > 0


def test_refused_credentials_name_the_option():
    assert str(failure_of(InvalidCredsError("no"), "list", "clouds.libcloud.credentials")) == (
        "clouds.libcloud.credentials: the provider does not accept them for this (list: no)"
    )


def test_the_query_of_a_url_is_not_shown():
    """It holds the user data of a machine, with its join token."""
    error = RequestsConnectionError("Max retries exceeded with url: /?Action=RunInstances&UserData=c2VjcmV0 (refused)")
    assert "c2VjcmV0" not in str(failure_of(error, "create x", "o"))


def test_drivers_are_found_by_name():
    assert find_driver("ec2").__name__ == "EC2NodeDriver"
    assert find_driver("libcloud.compute.drivers.dummy:DummyNodeDriver").__name__ == "DummyNodeDriver"
    with pytest.raises(NotFound, match=r"no driver named 'digitalocaen' \(did you mean 'digitalocean'\?\)"):
        find_driver("digitalocaen")
    with pytest.raises(NotFound, match="no_such_module"):
        find_driver("no_such_module:Driver")


def test_no_error_holds_a_secret_whatever_the_driver_says(tmp_path):
    drivers = drivers_of(options(credentials=creds(tmp_path)))
    with pytest.raises(Unavailable, match=r"list: cannot connect as \*\*\*") as caught, drivers.call("list") as driver:
        raise RequestsConnectionError(f"cannot connect as {driver.creds}")
    assert caught.value.__suppress_context__, "a traceback would show what it came from"


def test_secrets_are_read_again_after_a_refusal(tmp_path):
    credentials = creds(tmp_path)
    drivers = drivers_of(options(credentials=credentials))
    with drivers.call("list") as driver:
        assert driver.creds == CANARY
    (tmp_path / "creds").write_text("next")
    with pytest.raises(Refused), drivers.call("list"):
        raise InvalidCredsError("expired")
    with drivers.call("list") as driver:
        assert driver.creds == "next"


def test_offers_are_completed_by_what_the_provider_says_of_the_size(tmp_path):
    (offer,) = LibcloudMachines(options(credentials=creds(tmp_path))).offers()
    assert (offer.name, offer.node.cpu_count, offer.node.memory_bytes, offer.price_per_hour) == (
        "small",
        2,
        128 << 20,
        4,
    )


def test_what_neither_says_is_asked_for(tmp_path):
    offer = {"name": "small", "size": "Small", "count_max": 2}
    machines = LibcloudMachines(options(credentials=creds(tmp_path), offers=[offer]))
    with pytest.raises(InvalidInput, match=r"offers\.small\.cpu_count: is missing, and the provider does not tell"):
        machines.offers()


def test_a_size_that_is_not_there(tmp_path):
    offer = {"name": "small", "size": "Smal", "count_max": 2}
    machines = LibcloudMachines(options(credentials=creds(tmp_path), offers=[offer]))
    with pytest.raises(Refused, match=r"offers\.small\.size: the provider has no 'Smal' \(did you mean 'Small'"):
        machines.offers()


def test_arguments_that_the_driver_does_not_take(tmp_path):
    machines = LibcloudMachines(options(credentials=creds(tmp_path), driver_arguments={"regoin": "x"}))
    with pytest.raises(Refused, match=r"driver_arguments: driver 'dummy': .*regoin"):
        machines.list()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"driver_arguments": {"api_token": "x"}}, "api_token looks like a secret: put it into a file"),
        ({"offers": [SMALL, SMALL]}, "listed more often: small"),
        ({"offers": [SMALL | {"name": "Small"}]}, "small letters, digits and dashes"),
        ({"name_prefix": "a-b"}, "name_prefix: expected a letter"),
        ({"credentials": {"key": {"file": "relative"}}}, "absolute path"),
        ({"imag": "x"}, r"did you mean 'image'\?"),
    ],
)
def test_bad_options_are_refused(changes, text):
    with pytest.raises(InvalidInput, match=text):
        options(**changes)
