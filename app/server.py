"""The server behind `nas dashboard`: the app, plotly.js for its charts, and a study read in advance.

python server.py PORT browser|no-browser RUNS [STORAGE]
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import live
import plotly
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from streamlit.starlette import App


@asynccontextmanager
async def lifespan(app: App) -> AsyncIterator[None]:
    """Reads the study that the first page will show before anybody is answered: a large one takes seconds."""
    live.read_ahead(live.place_from(sys.argv))
    yield


plotly_js = Mount("/plotly", StaticFiles(directory=Path(plotly.__file__).parent / "package_data"))
app = App(Path(__file__).with_name("dashboard.py"), lifespan=lifespan, routes=[plotly_js])

if __name__ == "__main__":
    port, browser, *sys.argv[1:] = sys.argv[1:]  # the rest is for the dashboard
    app.run(config={"server.port": int(port), "server.headless": browser == "no-browser"})
