"""libcloud's EC2 driver, with what it leaves out: read answers that are what was asked for, and nothing else.

libcloud signs, sends, and tells errors. Its parsers take an answer in another namespace for an empty one, and it has no
call for types, spot prices and metadata options; Amazon's API is one of actions with parameters, so these are asked for
over the same connection. No second library with credentials and retries of its own is needed for that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from libcloud.compute.drivers.ec2 import NAMESPACE, EC2Connection, EC2NodeDriver, EC2Response

from hal_core import PluginError

PAGES_MAX: Final = 1000

METADATA_OPTIONS: Final = {
    "MetadataOptions.HttpEndpoint": "enabled",
    "MetadataOptions.HttpTokens": "required",
    "MetadataOptions.HttpPutResponseHopLimit": "1",
}
"""Only version 2 with its token, and nothing behind a second hop, as containers are. Processes of the instance itself
reach it all the same: what keeps jobs from it is a rule of its firewall (see the README)."""


class Ec2Response(EC2Response):
    """Whatever version of the API the answer names (or misspells), it is read as the one that libcloud looks for."""

    def parse_body(self) -> Any:
        parent: Any = super()
        self.body = re.sub(r'xmlns="http://[^"]*"', f'xmlns="{NAMESPACE}"', self.body or "", count=1)
        return parent.parse_body()

    def parse_error(self) -> Any:
        """libcloud finds nothing in errors of another form, such as those that other services hand on."""
        parent: Any = super()
        code, text = (re.search(rf"<{tag}>(.*?)</{tag}>", self.body or "", re.S) for tag in ("Code", "Message"))
        return parent.parse_error() or ": ".join(found[1] for found in (code, text) if found)


class Ec2Connection(EC2Connection):
    """Adds to each new instance what libcloud's `create_node` has no argument for."""

    responseCls = Ec2Response

    def add_default_params(self, params: dict[str, Any]) -> dict[str, Any]:
        if params.get("Action") == "RunInstances":
            params = {**params, **METADATA_OPTIONS, **_of_volumes(params)}
        parent: Any = super()
        added: dict[str, Any] = parent.add_default_params(params)
        return added


class Ec2Driver(EC2NodeDriver):
    """Of one region. Not for several threads at once."""

    connectionCls = Ec2Connection

    def ask(self, action: str, parameters: Mapping[str, str]) -> Any:
        """The root of the answer. Raises PluginError if it is another one than that of the action."""
        connection: Any = self.connection
        root = connection.request(self.path, params={"Action": action, **parameters}).object
        tag = getattr(root, "tag", "")
        if tag != f"{{{NAMESPACE}}}{action}Response":
            raise PluginError(f"asked for {action}, the answer is {tag!r}: is this EC2?")
        return root

    def pages(self, action: str, parameters: Mapping[str, str]) -> Iterator[Any]:
        """The roots of all pages."""
        more: dict[str, str] = {}
        for _ in range(PAGES_MAX):
            root = self.ask(action, {**parameters, **more})
            yield root
            token = text_of(root, "nextToken")
            if not token:
                return
            more = {"NextToken": token}
        raise PluginError(f"{action}: more than {PAGES_MAX} pages")


def items(element: Any, path: str) -> list[Any]:
    found: list[Any] = element.findall(_qualified(path))
    return found


def text_of(element: Any, path: str) -> str:
    """Empty if it is not there."""
    return element.findtext(_qualified(path)) or ""


def _qualified(path: str) -> str:
    return "/".join(f"{{{NAMESPACE}}}{part}" for part in path.split("/"))


def _of_volumes(params: Mapping[str, Any]) -> dict[str, Any]:
    """The tags of the instance, for its volumes: all that costs money can be found by them."""
    tags = {
        name.replace("TagSpecification.1.", "TagSpecification.2."): value
        for name, value in params.items()
        if name.startswith("TagSpecification.1.Tag.")
    }
    return {"TagSpecification.2.ResourceType": "volume", **tags} if tags else {}
