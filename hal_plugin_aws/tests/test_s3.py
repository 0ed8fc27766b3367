"""S3 locality: addresses, credentials and signatures by themselves, and transfers from a real server (moto's)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from urllib.parse import quote

import boto3
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials
from hypothesis import given, settings, strategies as st

from hal_core import InvalidInput, NodeName, NotFound, Refused
from hal_core.testing import LocalityTrial, check_locality, check_locality_broken_off
from hal_plugin_aws.s3_addresses import S3Address, parse_address
from hal_plugin_aws.s3_provider import S3Locality
from hal_plugin_aws.s3_signing import Credentials, parse_credentials, signed_headers
from tests.support.file_server import FileServer
from tests.support.moto import Moto

N1 = NodeName("n1")
CONTENT = bytes(range(256)) * 6000
KEY = "dir/a b+c~ä?#%.bin"


@pytest.fixture(name="moto", scope="module")
def running_moto(tmp_path_factory) -> Iterator[Moto]:
    with Moto(tmp_path_factory.mktemp("moto")) as moto:
        yield moto


@pytest.fixture(name="credentials")
def credentials_file(tmp_path):
    path = tmp_path / "credentials"
    path.write_text("[default]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = wJalr/UtnFEMI+%xyz\n")
    path.chmod(0o600)
    return str(path)


def s3(port, credentials=None, **options):
    given = {"endpoint": f"http://127.0.0.1:{port}", "buckets": ["genomes"], **options}
    return S3Locality.from_options(given | ({"credentials": {"file": credentials}} if credentials else {}))


def bucket_of(moto):
    """Filled by Amazon's own client."""
    client = boto3.client(
        "s3", region_name="us-east-1", endpoint_url=f"http://127.0.0.1:{moto.port}",
        aws_access_key_id="a", aws_secret_access_key="b",
    )  # fmt: skip
    client.create_bucket(Bucket="genomes")
    return client


async def test_it_keeps_the_contract_on_a_real_server(moto, credentials):
    bucket_of(moto).put_object(Bucket="genomes", Key=KEY, Body=CONTENT, ChecksumAlgorithm="SHA256")
    trial = LocalityTrial(f"s3://genomes/{quote(KEY)}", "s3://genomes/absent", content=CONTENT)
    make = partial(s3, moto.port, credentials)
    await check_locality(make, trial)
    await check_locality_broken_off(make, trial)
    with pytest.raises(NotFound, match="is in none of the buckets genomes"):
        await make().stage("s3://others/file", [N1])
    with pytest.raises(Refused, match="is in an object store"):
        await make().evict("s3://genomes/file", N1)


async def read(provider, address):
    async with provider.reading(address, 0) as pieces:
        return b"".join([piece async for piece in pieces])


async def test_short_answers_and_wrong_digests_are_found(credentials):
    """From a server that we can spoil: without the fault it is the same request."""
    with FileServer() as server:
        port = int(server.url.rpartition(":")[2])
        server.put("/genomes/short", CONTENT, sends=1000)
        server.put("/genomes/wrong", CONTENT, headers={"x-amz-checksum-sha256": "AAAA" * 10 + "AAA="})
        server.put("/genomes/parts", CONTENT, headers={"x-amz-checksum-sha256": "AAAA" * 10 + "AAA=-3"})
        server.put("/genomes/gzip", CONTENT, headers={"Content-Encoding": "gzip"})
        with pytest.raises(OSError, match="no whole answer for s3://genomes/short"):
            await read(s3(port, credentials), "s3://genomes/short")
        with pytest.raises(Refused, match="s3://genomes/wrong is not what the server's digest says"):
            await read(s3(port, credentials), "s3://genomes/wrong")
        for key in ("parts", "gzip"):  # A digest of digests, and an encoding that is stored: the bytes are right.
            assert await read(s3(port), f"s3://genomes/{key}") == CONTENT


async def test_credentials_are_read_when_they_are_needed(moto, credentials, tmp_path):
    provider = s3(moto.port, str(tmp_path / "later"))
    with pytest.raises(Refused, match=r"s3.credentials: .*/later: No such file"):
        await provider.stage("s3://genomes/file", [N1])
    (tmp_path / "later").write_text("[other]\naws_access_key_id=SECRETISH\n")
    (tmp_path / "later").chmod(0o600)
    with pytest.raises(Refused, match=r"there is no default; expected \[default\] with") as caught:
        await provider.stage("s3://genomes/file", [N1])
    assert "SECRETISH" not in str(caught.value)


@pytest.mark.parametrize("text", ["aws_access_key_id=SECRETISH", "[default]\naws_access_key_id=SECRETISH", "[x\0"])
def test_what_is_no_credentials_file_is_not_repeated(text):
    with pytest.raises(Refused) as caught:
        parse_credentials(text, "default")
    assert "SECRETISH" not in str(caught.value)


PRINTABLE = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=20)


@settings(deadline=None)
@given(PRINTABLE, st.sampled_from(["https://s3.eu-central-1.amazonaws.com", "http://127.0.0.1:9000"]), st.booleans())
def test_signatures_are_amazons(key, endpoint, has_token):
    """Amazon's own library, given our headers and our time, signs the same."""
    address = parse_address(f"s3://genomes/{quote(key, safe='')}")
    if address is None:
        return
    url = address.url(endpoint)
    mine = Credentials("AKIDEXAMPLE", "wJalr/UtnFEMI+%xyz", "token" if has_token else "")
    headers = signed_headers("GET", url, "eu-central-1", mine)
    signer = S3SigV4Auth(BotoCredentials("AKIDEXAMPLE", "wJalr/UtnFEMI+%xyz"), "s3", "eu-central-1")
    request = AWSRequest("GET", url, headers={n: v for n, v in headers.items() if n != "Authorization"})
    request.context["timestamp"] = headers["X-AMZ-Date"]
    canonical = signer.canonical_request(request)
    signature = signer.signature(signer.string_to_sign(request, canonical), request)
    assert headers["Authorization"].endswith(f"Signature={signature}")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("s3://genomes/a/b", S3Address("genomes", "a/b")),
        ("s3://genomes/a%20b%2Fc", S3Address("genomes", "a b/c")),
        ("s3://genomes/a b", S3Address("genomes", "a b")),
        ("s3://genomes//a", S3Address("genomes", "/a")),
        ("s3://genomes/", None),
        ("s3://genomes", None),
        ("s3://g/a", None),
        ("s3://Genomes/a", None),
        ("s3://genomes/../others/a", None),
        ("s3://genomes/%2e%2e/others/a", None),
        ("s3://genomes/./a", None),
        ("s3://genomes/a%00", None),
        ("s3://genomes/a\n", None),
        ("s3://genomes/\ud800", None),
        ("https://genomes/a", None),
        ("s3://user@genomes/a", None),
    ],
)
def test_addresses(text, address):
    assert parse_address(text) == address


@given(PRINTABLE)
def test_every_key_has_an_address(key):
    address = parse_address(f"s3://genomes/{quote(key, safe='')}")
    assert address is None or address.key == key
    assert (address is None) == any(part in (".", "..") for part in key.split("/")) or not key.isprintable()


def test_mistakes_are_told():
    with pytest.raises(InvalidInput, match="expected at least one bucket"):
        S3Locality.from_options({"buckets": []})
    with pytest.raises(InvalidInput, match="expected names of buckets, such as genomes, not 'a/b'"):
        S3Locality.from_options({"buckets": ["a/b"]})
    with pytest.raises(InvalidInput, match="expected an http: or https: URL"):
        S3Locality.from_options({"buckets": ["genomes"], "endpoint": "minio:9000"})
    assert S3Locality.from_options({"buckets": ["genomes"], "region": "eu-north-1"})._options.base_url == (
        "https://s3.eu-north-1.amazonaws.com"
    )
