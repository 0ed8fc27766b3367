"""What a new machine is given to begin with: a file of the site's (a shell script, or cloud-init's YAML), filled in.

`{node}` becomes the node's name, and `{join_token}` a join token for that node, made by a command of the site's. Any
other brace stays as it is. A provider shows user data to whoever may ask about the machine, and to what runs on it: a
join token is good for one node, once, and for a short time; no lasting secret belongs there.
"""

from __future__ import annotations

from pathlib import Path

import attrs

from hal_core.errors import Refused
from hal_core.models.node import NodeName
from hal_core.secret import Secret

BYTES_MAX = 16_384
"""What EC2 takes; others take more."""


@attrs.frozen
class UserData:
    """Options. In `join_token_command`, {node} stands for the node's name: [hal, agent, token, CONFIG, "{node}"]."""

    file: str
    join_token_command: tuple[str, ...] = ()

    def text(self, node: NodeName, option: str) -> str:
        """For that node. Blocks. Raises Refused, which names the option."""
        try:
            text = Path(self.file).read_text(encoding="utf-8")
        except OSError as error:
            raise Refused(f"{option}.file: {self.file}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise Refused(f"{option}.file: {self.file} is no text") from None
        text = text.replace("{node}", node)
        if "{join_token}" in text:
            text = text.replace("{join_token}", self._join_token(node, f"{option}.join_token_command"))
        if len(text.encode()) > BYTES_MAX:
            raise Refused(f"{option}.file: {self.file} has more than {BYTES_MAX} bytes when it is filled in")
        return text

    def _join_token(self, node: NodeName, option: str) -> str:
        if not self.join_token_command:
            raise Refused(f"{option}: {self.file} wants a {{join_token}}, and nothing makes one")
        return Secret(command=tuple(word.replace("{node}", node) for word in self.join_token_command)).read(option)
