"""HTTP locality: datasets are URLs of files on web servers. It gives bytes; the nodes' stores keep and check them."""

from hal_core import Options, PluginInfo, Register, hookimpl

__hal_plugin__ = PluginInfo(
    sdk=1,
    summary="datasets as files of web servers, by URL",
    not_yet=(
        "credentials: whatever the servers give to everybody",
        "HTTP/2 and HTTP/3",
        "one file in several ranges at a time",
    ),
)


@hookimpl
def hal_register_localities(register: Register) -> None:
    register("http", _make, "http: and https: URLs below listed prefixes, read in ranges")


@hookimpl
def hal_register_trials(register: Register) -> None:
    register("http", _trial)


def _make(options: Options) -> object:
    from hal_locality_http.provider import HttpLocality

    return HttpLocality.from_options(options)


def _trial(given: Options) -> Options:
    from hal_locality_http.trial import trial

    return trial(given["directory"])
