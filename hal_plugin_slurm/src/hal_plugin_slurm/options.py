"""The options of the executor `slurm`, as they stand in the cluster's YAML."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from hal_plugin_slurm.way_options import WayOptions

_POSITIVE = attrs.validators.gt(0.0)


@attrs.frozen(kw_only=True)
class SlurmOptions(WayOptions):
    """`partitions` maps HAL's names to Slurm's where they differ. Times are in seconds: slurmctld is asked at
    most every `poll_s_min`, and at least every `poll_s_max` while something is there. `ahead` is how many times the
    size that Slurm says a node may be declared with, so that jobs wait in Slurm's queue instead of HAL's. How its nodes
    are booked is told at most every `view_s`. An end is kept back for at most `usage_s`, until accounting says what the
    job used; 0: it is not asked. The daemon fills in `state_directory`, and `name`: that in the YAML.
    """

    partitions: Mapping[str, str] = attrs.Factory(dict)
    poll_s_min: float = attrs.field(default=1.0, validator=_POSITIVE)
    poll_s_max: float = attrs.field(default=30.0, validator=_POSITIVE)
    vanish_s: float = attrs.field(default=60.0, validator=_POSITIVE)
    usage_s: float = attrs.field(default=10.0, validator=attrs.validators.ge(0.0))
    ahead: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    view_s: float = attrs.field(default=10.0, validator=_POSITIVE)
    state_directory: str = ""
    name: str = "slurm"

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if self.poll_s_max < self.poll_s_min:
            raise ValueError(f"poll_s_max {self.poll_s_max:g} is less than poll_s_min {self.poll_s_min:g}")
        if not self.state_directory:
            raise ValueError("state_directory is missing: the folder where submissions are written down")
