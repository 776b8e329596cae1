"""Who may ask: the person who started the server, from this machine, and no other site's page in their browser."""

from __future__ import annotations

import hmac
import secrets

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self' 'unsafe-inline'; script-src 'self'; connect-src 'self'; "
        "img-src 'self' data:; media-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_REFUSED = "Open the address that 'tritguard serve' printed: it holds the token of this session.\n"


class Guard:
    """Lets requests through that hold the token, in a cookie or, once, in the address, and name this machine as host.

    Any web page can make a browser ask 127.0.0.1, and any host name can be made to lead there. So a request needs a
    secret that such a page does not have, and the name of the host has to be this machine's.

    Args:
        app: what is guarded.
        port: where the server listens.
        token: the secret, in characters that need no escaping in an address.
    """

    def __init__(self, app: ASGIApp, port: int, token: str) -> None:
        self._app, self._token = app, token
        self._hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
        self._cookie = f"tritguard-{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let the guarded application do it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        answer = self._refusal(request)
        await (answer or self._app)(scope, receive, with_headers)

    def _refusal(self, request: Request) -> Response | None:
        if request.headers.get("host", "") not in self._hosts:
            return PlainTextResponse("This server answers to 127.0.0.1 and localhost alone.\n", 421)
        if self._right(request.cookies.get(self._cookie, "")):
            return None
        if not self._right(request.query_params.get("token", "")):
            return PlainTextResponse(_REFUSED, 403)
        answer = RedirectResponse(str(request.url.include_query_params().replace(query="")), 303)
        answer.set_cookie(self._cookie, self._token, httponly=True, samesite="strict", path="/")
        return answer

    def _right(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._token.encode())


def new_token() -> str:
    """Draw a secret of 192 bits."""
    return secrets.token_urlsafe(24)
