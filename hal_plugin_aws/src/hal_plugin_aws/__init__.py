"""HAL on AWS: data in S3 and stores like it, nodes from EC2."""

from hal_core import Options, PluginInfo, Register, hookimpl

__version__ = "0.1.0"

__hal_plugin__ = PluginInfo(
    sdk=1,
    summary="datasets in S3 and stores like it; nodes from Amazon EC2, on demand and spot",
    not_yet=(
        "fleets and launch templates: one call starts one instance",
        "notices of scheduled maintenance",
        "one region of EC2 for each cluster",
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


@hookimpl
def hal_register_clouds(register: Register) -> None:
    register(
        "aws", _make_cloud, "instances of EC2: zones with failover, spot and on demand, tags, user data", _cloud_options
    )


def _make_cloud(options: Options) -> object:
    from hal_plugin_aws.ec2 import make_cloud

    return make_cloud(options)


def _cloud_options() -> type:
    from hal_plugin_aws.ec2_options import Ec2Options

    return Ec2Options


@hookimpl
def hal_register_notices(register: Register) -> None:
    register("aws", _make_notices, "what EC2's metadata service says of interruptions and rebalancing")


def _make_notices(options: Options) -> object:
    from hal_plugin_aws.notices import AwsNotices

    return AwsNotices.from_options(options)
