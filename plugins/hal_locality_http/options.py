"""The options of the HTTP locality, as they stand in the YAML.

localities:
  http:
    url_prefixes: [https://data.example.org/public/]
"""

from __future__ import annotations

import attrs

from hal_core import WebOptions
from hal_locality_http.prefixes import prefixes_of


def _are_urls(_: object, __: object, texts: tuple[str, ...]) -> None:
    prefixes_of(texts)


def _lists_some(_: object, __: object, texts: tuple[str, ...]) -> None:
    if not texts:
        raise ValueError("expected at least one; https:// stands for all servers that the cluster can reach")


@attrs.frozen(kw_only=True)
class HttpOptions(WebOptions):
    """`url_prefixes`: what users may name. `redirect_prefixes`: where else a server may send us."""

    url_prefixes: tuple[str, ...] = attrs.field(validator=[_lists_some, _are_urls])
    redirect_prefixes: tuple[str, ...] = attrs.field(default=(), validator=_are_urls)
