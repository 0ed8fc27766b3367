"""Redis locality: datasets are values in Redis or Valkey caches, whose inventories say which cache has what."""

from hal_core import Options, PluginInfo, Register, hookimpl

__hal_plugin__ = PluginInfo(
    sdk=1,
    summary="datasets as values in Redis or Valkey caches (needs the extra hal-core[redis])",
    not_yet=(
        "clusters and sentinels: each cache is one server",
        "FLUSHALL and FLUSHDB tell nobody which keys went: noticed at the next scan",
        "filling and emptying the caches: whoever owns them does",
    ),
)


@hookimpl
def hal_register_localities(register: Register) -> None:
    register("redis", _make, "redis://host:port/key, or redis:///key in whichever cache has it")


def _make(options: Options) -> object:
    from hal_locality_redis.provider import RedisLocality

    return RedisLocality.from_options(options)
