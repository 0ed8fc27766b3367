"""Equal parts of jobs (environment, script, shape) are kept once, however many jobs have them.

Saves memory; and engines, which answer for equal shapes once, can tell them by identity.
"""

from __future__ import annotations

from hal_core.models.job import JobSpec, Shape

KEPT_MAX = 10_000


class SharedParts:
    """Remembers what it has seen; forgets everything once that is too much."""

    __slots__ = ("_environments", "_scripts", "_shapes")

    def __init__(self) -> None:
        self._environments: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._scripts: dict[str, str] = {}
        self._shapes: dict[Shape, Shape] = {}

    def share_shape(self, shape: Shape) -> Shape:
        """An equal shape: the earlier one, if there was one."""
        if len(self._shapes) > KEPT_MAX:
            self._shapes.clear()
        return self._shapes.setdefault(shape, shape)

    def share(self, spec: JobSpec) -> JobSpec:
        """The spec; its large parts are those of an earlier one from now on, if there was one with the same."""
        if len(self._environments) + len(self._scripts) > KEPT_MAX:
            self._environments.clear()
            self._scripts.clear()
        environment = self._environments.setdefault(spec.environment, spec.environment)
        script = self._scripts.setdefault(spec.script, spec.script)
        # An equal value takes another's place, so the frozen spec stays what it was. attrs.evolve would copy it whole,
        # which was a fifth of the time of a replay.
        object.__setattr__(spec, "environment", environment)
        object.__setattr__(spec, "script", script)
        return spec
