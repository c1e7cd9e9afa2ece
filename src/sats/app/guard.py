"""Keeps pages from elsewhere, open in the same browser, off a page that is for this machine alone."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import ASGIApp, Receive, Scope, Send


class SameOrigin:
    """Refuses what a page of another origin sends: browsers say where it is from."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != headers.get("host"):
            await PlainTextResponse("This page takes nothing from other pages.", 403)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def guards(hosts: Sequence[str]) -> list[Middleware]:
    """What stands before a page for browsers that call its machine by one of ``hosts``.

    A page elsewhere whose own name resolves to this machine calls it otherwise.
    """
    return [Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts)), Middleware(SameOrigin)]
