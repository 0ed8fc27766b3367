"""The options of the S3 locality, as they stand in the YAML.

localities:
  s3:
    buckets: [genomes]
    region: eu-central-1
    credentials: {file: /etc/hal/s3-credentials}
"""

from __future__ import annotations

import attrs

from hal_core import Secret, WebOptions
from hal_plugin_aws.s3_addresses import parse_address


def _are_buckets(_: object, __: object, names: tuple[str, ...]) -> None:
    if not names:
        raise ValueError("expected at least one bucket, which users may name")
    for name in names:
        if (address := parse_address(f"s3://{name}/key")) is None or address.bucket != name:
            raise ValueError(f"expected names of buckets, such as genomes, not {name!r}")


def _is_a_url(_: object, __: object, text: str) -> None:
    if text and not text.startswith(("https://", "http://")):
        raise ValueError(f"expected an http: or https: URL, not {text!r}")


@attrs.frozen(kw_only=True)
class S3Options(WebOptions):
    """`endpoint`: of a store that is not Amazon's. Without `credentials` only what everybody may read."""

    buckets: tuple[str, ...] = attrs.field(validator=_are_buckets)
    region: str = "us-east-1"
    endpoint: str = attrs.field(default="", validator=_is_a_url)
    credentials: Secret | None = None
    profile: str = "default"

    @property
    def base_url(self) -> str:
        return self.endpoint or f"https://s3.{self.region}.amazonaws.com"
