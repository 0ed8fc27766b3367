"""The provider: files below listed URLs. It gives bytes; the nodes' stores keep and check them."""

from __future__ import annotations

from functools import partial

from hal_core import NotFound, Options, WebFile, WebFiles, WebLocality, structure_options
from hal_locality_http.options import HttpOptions
from hal_locality_http.prefixes import is_below, is_strange, prefixes_of


class HttpLocality(WebLocality):
    """LocalityProvider and DataSource."""

    def __init__(self, options: HttpOptions) -> None:
        self._options = options
        self._prefixes = prefixes_of(options.url_prefixes)
        reachable = self._prefixes + prefixes_of(options.redirect_prefixes)
        may_follow, strange = partial(is_below, prefixes=reachable), partial(is_strange, prefixes=reachable)
        super().__init__(WebFiles(options, may_follow, is_strange=strange), "on a web server")

    @classmethod
    def from_options(cls, options: Options) -> HttpLocality:
        return cls(structure_options(HttpOptions, options, "http"))

    def recognises(self, dataset: str) -> bool:
        return is_below(dataset, self._prefixes)

    def file_of(self, dataset: str) -> WebFile:
        if not self.recognises(dataset):
            raise NotFound(f"{dataset!r} is below none of {', '.join(self._options.url_prefixes)}")
        return WebFile(dataset, dataset)
