"""The driver that the options name, made with what they say."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any

from hal_cloud_libcloud.options import LibcloudOptions
from hal_core import Drivers, NotFound, Refused, did_you_mean

PLACE = "clouds.libcloud"


def drivers_of(options: LibcloudOptions) -> Drivers:
    """Raises NotFound for a driver that is not there; what it does not take is found out when it is made."""
    found = find_driver(options.driver)

    def make(**secrets: str) -> Any:
        arguments = dict(options.driver_arguments) | secrets
        if _takes(found, "timeout"):
            arguments.setdefault("timeout", options.call_s)
        try:
            return found(**arguments)
        except (TypeError, ValueError) as error:
            raise Refused(f"{PLACE}.driver_arguments: driver {options.driver!r}: {error}") from None

    def read() -> dict[str, str]:
        return {name: secret.read(f"{PLACE}.credentials.{name}") for name, secret in options.credentials.items()}

    return Drivers(make, read, f"{PLACE}.credentials")


def find_driver(name: str) -> Callable[..., Any]:
    """The class of a driver. Raises NotFound."""
    if ":" in name:
        module, _, attribute = name.partition(":")
        try:
            found: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise NotFound(f"{PLACE}.driver: {name!r}: {error}") from None
        return found
    from libcloud.compute.providers import DRIVERS, get_driver

    known = [str(each) for each in DRIVERS]
    if name not in known:
        raise NotFound(f"{PLACE}.driver: libcloud has no driver named {name!r}{did_you_mean(name, known)}")
    made: Callable[..., Any] = get_driver(name)
    return made


def _takes(function: Callable[..., Any], name: str) -> bool:
    parameters = inspect.signature(function).parameters
    return name in parameters or any(each.kind is each.VAR_KEYWORD for each in parameters.values())
