"""The generic cloud: nodes from any provider for which apache-libcloud has a compute driver."""

from hal_core import Options, PluginInfo, Register, hookimpl

__hal_plugin__ = PluginInfo(
    sdk=1,
    summary="machines of any cloud that apache-libcloud has a driver for",
    not_yet=(
        "lists of drivers that do not page: what is beyond the first page is told as an error when it was made here",
        "images are named by their id, and one image serves all offers",
        "spot machines, except where the driver takes them as a create argument",
    ),
)


@hookimpl
def hal_register_clouds(register: Register) -> None:
    register("libcloud", _make, "start and end machines with apache-libcloud's compute API", _options)


def _make(options: Options) -> object:
    from hal_cloud_libcloud.provider import make_cloud

    return make_cloud(options)


def _options() -> type:
    from hal_cloud_libcloud.options import LibcloudOptions

    return LibcloudOptions
