"""The server behind `nas dashboard`: the app, plotly.js for its charts, and a study read in advance.

python server.py PORT browser|no-browser RUNS [STORAGE]
"""

import gzip
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path

import live
import plotly
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from streamlit.starlette import App

PLOTLY_JS = "/plotly/plotly.min.js"


@asynccontextmanager
async def lifespan(app: App) -> AsyncIterator[None]:
    """Does before anybody is answered what the first page would wait for: a large study takes seconds to read."""
    compressed_plotly()
    live.read_ahead(live.place_from(sys.argv))
    yield


async def serve_plotly(request: Request) -> Response:
    """plotly.js, from plotly's Python package: nothing is loaded from other machines."""
    headers = {"content-encoding": "gzip", "cache-control": "max-age=3600"}
    return Response(compressed_plotly(), media_type="text/javascript", headers=headers)


@cache
def compressed_plotly() -> bytes:
    """Compressed once, not for every browser anew."""
    return gzip.compress((Path(plotly.__file__).parent / "package_data" / "plotly.min.js").read_bytes(), 6)


app = App(
    Path(__file__).with_name("dashboard.py"),
    lifespan=lifespan,
    routes=[Route(PLOTLY_JS, serve_plotly)],
)

if __name__ == "__main__":
    port, browser, *sys.argv[1:] = sys.argv[1:]  # the rest is for the dashboard
    app.run(config={"server.port": int(port), "server.headless": browser == "no-browser"})
