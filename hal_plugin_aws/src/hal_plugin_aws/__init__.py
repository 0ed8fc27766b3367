"""HAL on AWS. Data in S3 and stores like it; nodes from EC2 are to come."""

from hal_core import Options, PluginInfo, Register, hookimpl

__version__ = "0.1.0"

__hal_plugin__ = PluginInfo(
    sdk=1,
    summary="datasets in S3 and stores like it; nodes from Amazon EC2 (not yet)",
    not_yet=(
        "offers and prices from EC2",
        "start and end instances, spot and on demand",
        "notice of spot interruptions",
        "datasets that are whole buckets or prefixes: each object is named",
        "credentials of an instance's role: they come from a file or a command",
    ),
)


@hookimpl
def hal_register_localities(register: Register) -> None:
    register("s3", _make_s3, "s3://bucket/key: objects of S3 and of every store with its protocol")


def _make_s3(options: Options) -> object:
    from hal_plugin_aws.s3_provider import S3Locality

    return S3Locality.from_options(options)
