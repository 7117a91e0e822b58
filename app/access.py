"""Who may act through the dashboard: start, steer and queue, and name paths of this machine. All others read.

Without options these are the people on this machine, where the server listens to nobody else. With `--allow-actions`
they are those who came by the server's secret link, which gives their browser a cookie; with `--read-only`, nobody.
"""

import secrets
from enum import StrEnum
from ipaddress import ip_address

import streamlit as st
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

SIGN_IN = "/act"
"""The path of the secret link: `/act?token=…`."""


class Acting(StrEnum):
    """Who may act, as the server's command line says it."""

    HERE = "here"
    BY_LINK = "allow-actions"
    NOBODY = "read-only"


class _Server:
    """Who may act on this server, and its secret; set once, before it serves."""

    acting = Acting.HERE
    token = secrets.token_urlsafe(24)


def configure(acting: Acting) -> None:
    """Sets who may act on this server."""
    _Server.acting = acting


def may_act() -> bool:
    """Returns whether the session's user may act."""
    if _Server.acting == Acting.BY_LINK:
        return _is_secret(st.context.cookies.get(_cookie(), ""))
    return _Server.acting == Acting.HERE and ip_address(st.get_option("server.address") or "127.0.0.1").is_loopback


def refusal() -> str:
    """Says to a user who may not act who may."""
    if _Server.acting == Acting.NOBODY:
        return "This dashboard was opened with --read-only."
    if _Server.acting == Acting.BY_LINK:
        return "Open the link that nas dashboard printed where it was started: it lets this browser act."
    return (
        "The dashboard can be reached from other machines, so it only reads; started with --allow-actions it gives a "
        "link by which one can act."
    )


def link() -> str:
    """Returns the path and query by which a browser gets the right to act; empty where no link is needed."""
    return f"{SIGN_IN}?token={_Server.token}" if _Server.acting == Acting.BY_LINK else ""


async def sign_in(request: Request) -> Response:
    """Gives the browser that follows the secret link a cookie, and sends it to the dashboard."""
    if not _is_secret(request.query_params.get("token", "")):
        return PlainTextResponse("This link is of another dashboard, or of one that was restarted.", status_code=403)
    answer = RedirectResponse("/", status_code=303)
    answer.set_cookie(_cookie(), _Server.token, httponly=True, samesite="strict")
    return answer


def _is_secret(text: str) -> bool:
    return secrets.compare_digest(text.encode(), _Server.token.encode())


def _cookie() -> str:
    """Returns the cookie's name, which has the port, as browsers send a cookie to all ports of a host."""
    return f"nas-{st.get_option('server.port')}"
