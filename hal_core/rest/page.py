"""The web page: a handful of files, sent to whoever asks. They hold no secret; all data comes by the API, with a token.

Read once, when the daemon starts. The policy lets the page run its own scripts and talk to its own daemon, and nothing
else: a job's name can never become a program in somebody's browser. A report, which is a page of its own, is shown in a
frame that has no origin: it has its style, and no way to the page around it, its token or the network.
"""

from __future__ import annotations

from importlib.resources import files

from hal_core.rest.answers import Answer, HttpError, error_answer
from hal_core.rest.asgi import AsgiApp, Receive, Scope, Send
from hal_core.rest.network import REMOTE, is_our_host

FOLDER = "static"
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; frame-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
FRAME = "frame.html"
FRAME_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)


def page_endpoints() -> dict[str, AsgiApp]:
    """An endpoint for each file, by path; `/` is the page itself."""
    endpoints: dict[str, AsgiApp] = {}
    for file in files(__package__).joinpath(FOLDER).iterdir():
        dot = file.name.rfind(".")
        headers = (
            ("content-security-policy", FRAME_POLICY if file.name == FRAME else POLICY),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
        )
        answer = Answer(file.read_bytes(), media_type=MEDIA_TYPES[file.name[dot:]], headers=headers)
        endpoints["/" if file.name == "index.html" else f"/{file.name}"] = _endpoint(answer)
    return endpoints


def _endpoint(answer: Answer) -> AsgiApp:
    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        told: Answer | None = answer
        extensions, host = scope.get("extensions", {}), dict(scope["headers"]).get(b"host", b"")
        if scope["method"] not in ("GET", "HEAD"):
            told = error_answer(HttpError(405, "method_not_allowed", "the page can only be read", [("allow", "GET")]))
        elif REMOTE in extensions and not is_our_host(host, extensions[REMOTE]):
            told = error_answer(HttpError(421, "misdirected", "the daemon does not go by that name; see listen.hosts"))
        assert told is not None
        await told.send(send)

    return serve
