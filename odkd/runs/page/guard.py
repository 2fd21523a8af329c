"""Who may ask the page: its own origin alone, so that no other site reads a camera through the browser of its owner.

A server on loopback is within reach of every page that the browser shows. A site may send requests to 127.0.0.1, and
it may let its own name lead there (DNS rebinding), after which the browser takes the answers for its own. So a request
must name a host that no stranger can own: an address in digits, localhost, the name of this machine, or the host of the
settings. Requests that the browser says are another site's get nothing but the page itself, which has no data.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Guard:
    """Answers requests that name a host of ours, and adds headers that keep other sites out.

    Args:
        app: that answers.
        hosts: names that may be asked for, besides addresses, localhost and this machine's name.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        self._app = app
        self._hosts = {host.lower() for host in (*hosts, "localhost", socket.gethostname())}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        answer: ASGIApp = self._app
        if not is_ours(headers.get("host", ""), self._hosts):
            answer = PlainTextResponse(
                "this page is not served under that name; open the address that odkd prints", 421
            )
        elif headers.get("sec-fetch-site", "none") not in ("same-origin", "none") and scope["path"] != "/":
            answer = PlainTextResponse("other sites may not read this", 403)
        await answer(scope, receive, guarded)


def is_ours(host: str, names: Iterable[str]) -> bool:
    """Return whether a request's Host is an address in digits or one of these names, whatever its port.

    >>> [is_ours(host, ["localhost"]) for host in ("127.0.0.1:8050", "[::1]:8050", "localhost", "LOCALHOST.:1")]
    [True, True, True, True]
    >>> [is_ours(host, ["localhost"]) for host in ("evil.example:8050", "127.0.0.1.evil.example", "", "a@[::1]")]
    [False, False, False, False]
    """
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
    if name.startswith("[") != name.endswith("]"):
        return False
    name = name.strip("[]").lower().removesuffix(".")
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return bool(name) and name in names
    return True
