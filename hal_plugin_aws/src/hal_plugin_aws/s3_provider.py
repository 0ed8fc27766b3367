"""Objects of S3-compatible stores as datasets: s3://bucket/key. It gives bytes; the nodes' stores keep them."""

from __future__ import annotations

from collections.abc import Mapping

import trio

from hal_core import NotFound, Options, WebFile, WebFiles, WebLocality, structure_options
from hal_plugin_aws.s3_addresses import parse_address
from hal_plugin_aws.s3_options import S3Options
from hal_plugin_aws.s3_signing import parse_credentials, signed_headers


class S3Locality(WebLocality):
    """LocalityProvider and DataSource."""

    def __init__(self, options: S3Options) -> None:
        self._options = options
        web = WebFiles(options, lambda url: False, self._sign, has_stored_encodings=True)
        super().__init__(web, "in an object store")

    @classmethod
    def from_options(cls, options: Options) -> S3Locality:
        return cls(structure_options(S3Options, options, "s3"))

    def recognises(self, dataset: str) -> bool:
        address = parse_address(dataset)
        return address is not None and address.bucket in self._options.buckets

    def file_of(self, dataset: str) -> WebFile:
        address = parse_address(dataset)
        if address is None or address.bucket not in self._options.buckets:
            raise NotFound(f"{dataset!r} is in none of the buckets {', '.join(self._options.buckets)}")
        return WebFile(address.url(self._options.base_url), dataset)

    async def _sign(self, method: str, url: str) -> Mapping[str, str]:
        """With what is in the file now: credentials for some hours are replaced there."""
        if self._options.credentials is None:
            return {}
        text = await trio.to_thread.run_sync(self._options.credentials.read, "s3.credentials", abandon_on_cancel=True)
        credentials = parse_credentials(text, self._options.profile)
        return signed_headers(method, url, self._options.region, credentials)
