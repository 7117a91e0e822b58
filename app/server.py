"""The server of `nas dashboard`: serves the app and plotly.js, and reads the first study in advance.

python server.py ADDRESS PORT browser|no-browser here|allow-actions|read-only RUNS [STORAGE]
"""

import gzip
import os
import socket
import sys
import threading
import webbrowser
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import access
import click
import front_page
import live
import pandas  # noqa: F401  (whole before any thread draws: plotly takes it half imported from another thread)
import plotly
import streamlit as st
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit.starlette import App

PLOTLY_JS = "/plotly/plotly.min.js"
NICENESS = 5
"""Lowers the server's CPU priority, so that a search in the same session comes first, but not so far that pages hardly
get on beside several busy programs."""
OWN_NAMES = ["localhost", "127.0.0.1", "[::1]"]


class OwnPagesOnly:
    """Middleware that rejects cross-site requests by their `Origin` header.

    Streamlit's own check accepts pages of any program on this machine, and asks an external service about others.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Rejects the request or passes it to the app."""
        headers = Headers(scope=scope) if scope["type"] in ("http", "websocket") else Headers()
        origin = headers.get("origin")
        if origin is None or urlsplit(origin).netloc == headers.get("host"):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await PlainTextResponse("This is for the dashboard's own pages.", status_code=403)(scope, receive, send)


class PlotlyEarly:
    """Middleware that has the browser load plotly.js beside Streamlit's own scripts instead of after them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Adds a link to responses that are pages."""

        async def linked(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if headers.get("content-type", "").startswith("text/html"):
                    headers.append("link", f"<{PLOTLY_JS}>; rel=preload; as=script")
            await send(message)

        await self._app(scope, receive, linked)


def serve(address: str, port: int, *, browser: bool) -> None:
    """Serves the dashboard until it is stopped.

    Args:
        address: a numeric IP address of this machine.
        port: the port to listen on.
        browser: open a browser window.
    """
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    alone = ip_address(address).is_loopback
    app = App(
        Path(__file__).with_name("dashboard.py"),
        lifespan=ready,
        routes=[Route(PLOTLY_JS, serve_plotly), Route(access.SIGN_IN, access.sign_in)],
        middleware=[
            # Prevents DNS rebinding, where a site's name suddenly resolves to this machine.
            Middleware(TrustedHostMiddleware, allowed_hosts=OWN_NAMES if alone else ["*"], www_redirect=False),
            Middleware(OwnPagesOnly),
            Middleware(PlotlyEarly),
        ],
    )
    # These settings override Streamlit's configuration files and environment variables.
    settings = {
        "server.address": address,
        "server.port": port,
        "server.enableCORS": True,
        "server.enableXsrfProtection": True,
        "logger.hideWelcomeMessage": True,  # it asks an external service for this machine's address
    }
    app.run(config=settings if browser else {**settings, "server.headless": True})


@asynccontextmanager
async def ready(app: App) -> AsyncIterator[None]:
    """Says where the dashboard is, and reads the first study while the browser loads the page."""
    threading.Thread(target=prepare, daemon=True).start()
    url = f"http://{shown(st.get_option('server.address'))}:{st.get_option('server.port')}"
    click.echo(f"The dashboard is at {url}; Ctrl-C ends it.")
    if link := access.link():
        url += link
        click.echo(f"Whoever opens this link can start and steer searches: {url}")
    if not st.get_option("server.headless"):
        threading.Thread(target=webbrowser.open, args=[url], daemon=True).start()
    yield


def prepare() -> None:
    """Prepares what the first page needs: a large study takes seconds to read."""
    compressed_plotly()
    if seen := live.read_ahead(live.place_from(sys.argv)):
        front_page.make_ahead(seen)


def shown(address: str) -> str:
    """Formats an address for a URL; the unspecified address becomes this machine's host name."""
    if ip_address(address).is_unspecified:
        return socket.gethostname()
    return f"[{address}]" if ":" in address else address


async def serve_plotly(request: Request) -> Response:
    """Serves plotly.js from plotly's Python package, so that nothing is loaded from other machines."""
    headers = {"content-encoding": "gzip", "cache-control": "max-age=3600"}
    return Response(compressed_plotly(), media_type="text/javascript", headers=headers)


@cache
def compressed_plotly() -> bytes:
    """Returns plotly.js compressed with gzip, compressed only once."""
    return gzip.compress((Path(plotly.__file__).parent / "package_data" / "plotly.min.js").read_bytes(), 6)


if __name__ == "__main__":
    address, port, browser, acting, *sys.argv[1:] = sys.argv[1:]  # the rest is for the dashboard
    access.configure(access.Acting(acting))
    serve(address, int(port), browser=browser == "browser")
