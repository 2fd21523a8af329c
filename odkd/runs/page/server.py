"""The server of a page: starlette on uvicorn, in a thread of the process that answers frames; it only ever reads.

The session gives views and waits for nothing. A browser asks again when it has the last answer, so whoever reads slowly
asks rarely, and nothing is queued for anybody. All who look at one view share its encoded pictures. A connection lives
for a minute at most: a client that hangs holds one answer for that long.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
import socket
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from odkd.common.settings import NaturalInt, PositiveFloat
from odkd.runs.page.guard import Guard
from odkd.runs.page.shown import no_view, pictures, plain
from odkd.runs.page.view import View

logger = logging.getLogger(__name__)
FILES = Path(__file__).parent / "files"
RATE_SECONDS = 10  # over which a rate is measured
MOST_CONNECTIONS = 64
LONGEST_CONNECTION = 60.0  # seconds
MOST_PORTS = 100  # that are tried from the wanted one on
TYPES = {"page.css": "text/css", "page.js": "text/javascript"}


class WebPage:
    """A page in the browser. It is served from the moment it is made.

    Args:
        host: address or name to listen at; the default can be reached from this machine alone.
        port: the first port that is tried; the next free one is taken. 0 = any free port.
        pictures_per_second: at most, however many look.

    Raises:
        ValueError: nothing can be served at this host.
    """

    def __init__(
        self, *, host: str = "127.0.0.1", port: NaturalInt = 8050, pictures_per_second: PositiveFloat = 5.0
    ) -> None:
        self._interval = 1 / pictures_per_second
        self._session, self._numbers = secrets.token_hex(4), itertools.count(1)
        self._newest: tuple[int, float, View] | None = None  # number, when it came, view
        self._past: deque[View] = deque(maxlen=RATE_SECONDS)  # one a second, without pictures
        self._encoded: tuple[int, float, dict[str, Any]] | None = None  # number, when, answer
        self._listening = listening = _listen(host, port)
        shown = f"[{host}]" if ":" in host else host
        self.address: str | None = f"http://{shown}:{listening.getsockname()[1]}/"
        self._server = uvicorn.Server(
            uvicorn.Config(
                Guard(self._app(), [host]),
                loop="asyncio",
                http=_Connection,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="error",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=MOST_CONNECTIONS,
                timeout_graceful_shutdown=1,
            )
        )
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listening]}, name="odkd-page", daemon=True
        )
        self._thread.start()
        if not _is_loopback(listening):
            logger.warning("the page listens at %s: whoever reaches this machine there can look at it", host)

    def show(self, view: View) -> None:
        """Show a view from now on."""
        if not self._past or view.seconds - self._past[-1].seconds >= 1:
            self._past.append(View(view.seconds, view.frame_number, numbers=view.numbers))
        self._newest = (next(self._numbers), time.monotonic(), view)

    def close(self) -> None:
        """Stop serving; the port is free afterwards."""
        self._server.should_exit = True
        self._thread.join(timeout=5)
        self._listening.close()

    def _app(self) -> Starlette:
        files = [Route(f"/{name}", _file(name)) for name in TYPES]
        return Starlette(routes=[Route("/", _file("page.html")), *files, Route("/now", self._now)])

    async def _now(self, request: Request) -> Response:
        """Answer with the newest view; without its pictures if the client has them, as its `after` says."""
        try:
            answer = self._answer(time.monotonic())
        except Exception as error:  # a view that cannot be drawn, such as a picture of floats, must not end a session
            logger.debug("the page cannot show a view", exc_info=True)
            return JSONResponse({"problem": f"this view cannot be shown: {error}"}, 500)
        if request.query_params.get("after") == answer["id"]:
            answer = {key: value for key, value in answer.items() if key != "pictures"}
        age = 0.0 if self._newest is None else time.monotonic() - self._newest[1]
        return JSONResponse(answer | {"age": round(age, 1), "interval": self._interval})

    def _answer(self, now: float) -> dict[str, Any]:
        if self._newest is None:
            return {**no_view(), "id": f"{self._session}-0", "pictures": {}}
        number, _, view = self._newest
        known = self._encoded
        if known is None or (known[0] != number and now - known[1] >= self._interval):
            answer = {**plain(view, self._past[0]), "id": f"{self._session}-{number}", "pictures": pictures(view)}
            known = self._encoded = (number, now, answer)
        return known[2]


class _Connection(H11Protocol):
    """A connection that is cut after a minute, whatever it does; a browser opens another one."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._end = self.loop.call_later(LONGEST_CONNECTION, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end.cancel()
        super().connection_lost(exc)


def _file(name: str) -> Callable[[Request], Awaitable[Response]]:
    content = (FILES / name).read_bytes()

    async def answer(_: Request) -> Response:
        return Response(content, media_type=TYPES.get(name, "text/html"))

    return answer


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens at the first free port from `port` on, or at any."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except OSError as error:
        raise ValueError(f"stage.host={host} is not known ({error}); expected 127.0.0.1, or an own address") from error
    wanted = range(port, min(port + MOST_PORTS, 2**16)) if port else ()
    problem: OSError | None = None
    for number in (*wanted, 0):
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((address[0], number))
            listening.listen(MOST_CONNECTIONS)
        except OSError as error:
            listening.close()
            problem = error
        else:
            return listening
    raise ValueError(f"nothing can be served at stage.host={host} ({problem}); expected an address of this machine")


def _is_loopback(listening: socket.socket) -> bool:
    address = str(listening.getsockname()[0])
    return address.startswith("127.") or address == "::1"
