"""The options of the HTTP locality, as they stand in the YAML.

localities:
  http:
    url_prefixes: [https://data.example.org/public/]
"""

from __future__ import annotations

import attrs

from hal_locality_http.prefixes import prefixes_of


def _are_urls(_: object, __: object, texts: tuple[str, ...]) -> None:
    prefixes_of(texts)


def _lists_some(_: object, __: object, texts: tuple[str, ...]) -> None:
    if not texts:
        raise ValueError("expected at least one; https:// stands for all servers that the cluster can reach")


@attrs.frozen
class HttpOptions:
    """`redirect_prefixes`: where else a server may send us. `timeout_s`: for a connection, an answer, and each MiB."""

    url_prefixes: tuple[str, ...] = attrs.field(validator=[_lists_some, _are_urls])
    redirect_prefixes: tuple[str, ...] = attrs.field(default=(), validator=_are_urls)
    redirect_count_max: int = attrs.field(default=5, validator=attrs.validators.ge(0))
    size_bytes_max: int = attrs.field(default=1 << 40, validator=attrs.validators.ge(1))
    timeout_s: float = attrs.field(default=60.0, validator=attrs.validators.gt(0))
    bytes_per_s: float = attrs.field(default=1e8, validator=attrs.validators.gt(0))
    price_per_gb: float = attrs.field(default=0.0, validator=attrs.validators.ge(0))
    ca_file: str = ""
    proxy: str = ""
