"""What a new machine is given to begin with: HAL's own text (instance.sh), or a file of the site's, filled in.

In both, `{node}` becomes the node's name, `{join_token}` a join token for that node, `{server}` the daemon's address;
`{wheel}`, `{notices}`, `{configuration}` (the node's own YAML), `{lease_until}` and `{lease_s}` are what they say. Any
other brace stays as it is. A provider shows user data to whoever may ask about the machine, and to what runs on it: a
join token is good for one node, once, and for a short time; no lasting secret belongs there.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Final

import attrs

from hal_core.errors import Refused
from hal_core.fleet.bootstrap import Bootstrap
from hal_core.models.node import Node, NodeName
from hal_core.secret import Secret

BYTES_MAX: Final = 16_384
"""What EC2 takes; others take more."""
FORMS: Final = ("cloud-init", "script")
SCRIPT: Final = Path(__file__).with_name("instance.sh")
CLOUD_INIT: Final = """#cloud-config
write_files:
  - path: /var/lib/cloud/scripts/per-boot/hal-instance
    permissions: "0700"
    content: |
"""
"""Before the script, indented."""
_NOTICES: Final = re.compile(r"([a-z][a-z0-9-]*(=https?://[A-Za-z0-9.:\[\]-]+)?)?")
_UNQUOTED: Final = re.compile(r"[^\s'\"\\]*")


def _is_form(_: object, __: object, form: str) -> None:
    if form not in FORMS:
        raise ValueError(f"form: expected {' or '.join(FORMS)}, not {form!r}")


def _is_one_word(_: object, attribute: attrs.Attribute[str], text: str) -> None:
    if not _UNQUOTED.fullmatch(text):
        raise ValueError(f"{attribute.name}: expected one word without quotes, not {text!r}")


def _names_a_source(_: object, __: object, text: str) -> None:
    if not _NOTICES.fullmatch(text):
        raise ValueError(f"notices: expected a name such as aws, or aws=http://ADDRESS, not {text!r}")


@attrs.frozen
class UserData:
    """Options. Without `file` the text is HAL's own, in the `form` that the image understands.

    `server`: the daemon's address for agents, as machines reach it. `wheel`: what pip installs where the image has no
    `hal`. `notices`: who tells that a machine is taken back. `join_token_command` makes tokens where no daemon does;
    {node} in it stands for the node's name: [hal, agent, token, CONFIG, "{node}"].
    """

    file: str = ""
    join_token_command: tuple[str, ...] = ()
    form: str = attrs.field(default=FORMS[0], validator=_is_form)
    server: str = attrs.field(default="", validator=_is_one_word)
    wheel: str = attrs.field(default="", validator=_is_one_word)
    notices: str = attrs.field(default="", validator=_names_a_source)

    def __attrs_post_init__(self) -> None:
        if not self.file and not self.server:
            raise ValueError("server: HAL's own user data needs the daemon's address for agents, HOST:PORT")

    def text(self, node: NodeName, option: str, bootstrap: Bootstrap | None = None) -> str:
        """For that node. Blocks. Raises Refused, which names the option."""
        text = self._template(option)
        if bootstrap is not None:
            text = _filled(text, _of(bootstrap))
        elif not self.file:
            raise Refused(f"{option}: HAL's own text is for machines that its daemon rents; name a file for others")
        text = _filled(text, {"node": node, "server": self.server, "wheel": self.wheel, "notices": self._notices})
        if "{join_token}" in text:
            token = bootstrap.join_token if bootstrap else self._join_token(node, f"{option}.join_token_command")
            text = text.replace("{join_token}", token)
        if not self.file and self.form == "cloud-init":
            text = CLOUD_INIT + "".join(f"      {line}\n" if line else "\n" for line in text.splitlines())
        if len(text.encode()) > BYTES_MAX:
            what = f".file: {self.file}" if self.file else ": HAL's own text"
            raise Refused(f"{option}{what} has more than {BYTES_MAX} bytes when it is filled in")
        return text

    @property
    def _notices(self) -> str:
        return f"--notices {self.notices}" if self.notices else ""

    def _template(self, option: str) -> str:
        try:
            return Path(self.file or SCRIPT).read_text(encoding="utf-8")
        except OSError as error:
            raise Refused(f"{option}.file: {self.file}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise Refused(f"{option}.file: {self.file} is no text") from None

    def _join_token(self, node: NodeName, option: str) -> str:
        if not self.join_token_command:
            raise Refused(f"{option}: {self.file} wants a {{join_token}}, and nothing makes one")
        return Secret(command=tuple(word.replace("{node}", node) for word in self.join_token_command)).read(option)


def _of(bootstrap: Bootstrap) -> dict[str, str]:
    """The token is not among them: it comes last, so that nothing is looked for in it."""
    return {
        "lease_until": f"{bootstrap.lease_until_s:.0f}",
        "lease_s": f"{max(0.0, bootstrap.lease_until_s - time.time()):.0f}",
        "configuration": configuration_of(bootstrap.node),
    }


def configuration_of(node: Node) -> str:
    """The YAML that the node's own agent reads: a cluster of one node."""
    gpus = f"    gpus: [{', '.join(node.gpus)}]\n" if node.gpus else ""
    return (
        f"cluster: rented\nnodes:\n  - names: {node.name}\n    cpus: {node.cpu_count}\n"
        f"    memory: {node.memory_bytes}B\n{gpus}partitions:\n  - name: rented"
    )


def _filled(text: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", value)
    return text
