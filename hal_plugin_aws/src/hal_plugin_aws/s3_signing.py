"""Who asks: credentials from a file in Amazon's form, and the signature (version 4) that libcloud makes with them."""

from __future__ import annotations

from configparser import ConfigParser, Error
from types import SimpleNamespace

import attrs
import httpx
from libcloud.common.aws import AWSRequestSignerAlgorithmV4

from hal_core import Refused


@attrs.frozen
class Credentials:
    access_key_id: str
    secret_access_key: str
    session_token: str = ""


def parse_credentials(text: str, profile: str, option: str = "s3.credentials") -> Credentials:
    """From the text of a file such as ~/.aws/credentials. Raises Refused, without a word of what is in it."""
    parser = ConfigParser(interpolation=None)
    try:
        parser.read_string(text)
        section = parser[profile]
        return Credentials(
            section["aws_access_key_id"], section["aws_secret_access_key"], section.get("aws_session_token", "")
        )
    except Error:
        raise Refused(f"{option}: not in the form of Amazon's credentials file") from None
    except KeyError as error:
        wanted = f"[{profile}] with aws_access_key_id and aws_secret_access_key"
        raise Refused(f"{option}: there is no {error.args[0]}; expected {wanted}") from None


def signed_headers(method: str, url: str, region: str, credentials: Credentials) -> dict[str, str]:
    """Also asks for the digest that was stored with the object, if there is one."""
    parts = httpx.URL(url)
    headers = {"Host": parts.netloc.decode(), "X-Amz-Checksum-Mode": "ENABLED"}
    if credentials.session_token:
        headers["X-Amz-Security-Token"] = credentials.session_token
    place = SimpleNamespace(driver=SimpleNamespace(region_name=region), service_name="s3")
    names = credentials.access_key_id, credentials.secret_access_key
    signer = AWSRequestSignerAlgorithmV4(*names, version=None, connection=place)  # type: ignore[no-untyped-call]
    _, signed = signer.get_request_headers({}, headers, method, parts.raw_path.decode())  # type: ignore[no-untyped-call]
    return dict(signed)
