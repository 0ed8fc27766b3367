"""What a driver raises, as one of HAL's errors: what to do about it is the same whichever cloud it came from.

Providers agree on little more than the status codes of HTTP, and not on those for a quota; so the words count, too.
"""

from __future__ import annotations

import re
from typing import Final

from libcloud.common.exceptions import RateLimitReachedError
from libcloud.common.types import InvalidCredsError, LibcloudError

from hal_core.errors import HalError, NoCapacity, PluginError, Refused, Unavailable

BUSY_S: Final = 10.0
CAPACITY_S: Final = 300.0
TEXT_LENGTH_MAX: Final = 500

_QUERY: Final = re.compile(r"\?\S+")
"""Of a URL: it may hold the user data of a machine, and its join token."""
_THROTTLED: Final = re.compile(r"throttl|request ?limit ?exceeded|rate.?limit|too many requests|slow ?down", re.I)
_NO_CAPACITY: Final = re.compile(
    r"insufficient.{0,20}capacity|out of (capacity|stock)|no valid host|quota|limit ?exceeded|exceed\w* .{0,40}\blimit"
    r"|resource_pool_exhausted|stockout|not enough (resources|capacity)|sku ?not ?available|sold ?out",
    re.I,
)


def failure_of(error: Exception, what: str, option: str) -> HalError:
    """`what` was attempted; `option` holds the credentials. The text is the driver's own: it may hold anything."""
    text = _text_of(error)
    told = f"{what}: {text}"
    status = getattr(error, "code", None) or getattr(error, "http_code", None)
    if isinstance(error, HalError):
        return error
    if isinstance(error, RateLimitReachedError) or status == 429 or _THROTTLED.search(text):
        return Unavailable(told, retry_after_s=getattr(error, "retry_after", 0) or BUSY_S)
    if _NO_CAPACITY.search(text):
        return NoCapacity(told, retry_after_s=CAPACITY_S)
    if isinstance(error, InvalidCredsError) or status in (401, 403):
        return Refused(f"{option}: the provider does not accept them for this ({told})")
    if isinstance(error, OSError) or (isinstance(status, int) and status >= 500):
        return Unavailable(told, retry_after_s=BUSY_S)
    if isinstance(status, int) and 400 <= status < 500:
        return Refused(told)
    return PluginError(told)


def _text_of(error: Exception) -> str:
    """One line. libcloud's own errors show the whole driver, with its connection, in their texts."""
    value = error.value if isinstance(error, LibcloudError) else error
    text = _QUERY.sub("?...", " ".join(str(value).split())) or type(error).__name__
    known = isinstance(error, LibcloudError | OSError) or hasattr(error, "code")
    return (text if known else f"{type(error).__name__}: {text}")[:TEXT_LENGTH_MAX]
