"""The AWS cloud provider. It only announces itself: it registers nothing, for it can do nothing yet."""

from hal_core import PluginInfo

__version__ = "0.1.0"

__hal_plugin__ = PluginInfo(
    sdk=1,
    summary="nodes from Amazon EC2 (nothing registered yet)",
    not_yet=(
        "offers and prices from EC2",
        "start and end instances, spot and on demand",
        "notice of spot interruptions",
        "data in S3",
    ),
)
