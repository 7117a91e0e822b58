"""Takes the pictures of the documents from a real study: `make screenshots`."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

import nas
from benchmarks.browser import browsing, dashboard

if TYPE_CHECKING:
    from playwright.sync_api import Page, ViewportSize

PICTURES = Path(__file__).resolve().parent.parent / "docs" / "pictures"
STUDY, TRIALS = "digits", 80
SIZE: "ViewportSize" = {"width": 1280, "height": 800}
NARROW: "ViewportSize" = {"width": 420, "height": 860}
TALL = 1700
PAGES = {"front": "", "trials": "trials", "architecture": "architecture", "design": "design", "compare": "compare",
         "progress": "progress", "insights": "insights", "export": "export", "studies": "studies",
         "new": "new"}  # fmt: skip


def main(runs: Path) -> None:
    """Searches and confirms where that was not done yet, then photographs every page in light and in dark."""
    study = nas.search("digits", trials=TRIALS, runs=runs, name=STUDY)
    nas.confirm(study, seeds=3)
    front = study.front()
    compared = ",".join(str(front[place].trial) for place in (0, len(front) // 2, -1))
    PICTURES.mkdir(exist_ok=True)
    with dashboard(runs) as address, browsing() as browser:
        for scheme in ("light", "dark"):
            page = browser.new_context(viewport=SIZE, color_scheme=scheme).new_page()
            for name, path in PAGES.items():
                chosen = f"&compared={compared}" if name == "compare" else ""
                url = f"{address}/{path}?study={STUDY}{chosen}"
                photograph(page, url, PICTURES / f"{name}-{scheme}.png", tall=name != "front")
        page = browser.new_context(viewport=NARROW, color_scheme="light").new_page()
        photograph(page, f"{address}/?study={STUDY}", PICTURES / "front-narrow.png")


def photograph(page: "Page", url: str, file: Path, *, tall: bool = False) -> None:
    """One page, once all of its charts are drawn; `tall` as far as it can be scrolled, to a limit."""
    size = page.viewport_size or SIZE
    page.goto(url)
    page.get_by_test_id("stSidebar").get_by_text("digits on digits").wait_for(state="attached")
    page.wait_for_timeout(2500)
    if tall:
        height = page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
        page.set_viewport_size({"width": size["width"], "height": max(size["height"], min(int(height), TALL))})
        page.wait_for_timeout(1500)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.quantize(256, kmeans=1, dither=Image.Dither.NONE).save(file, optimize=True)
    page.set_viewport_size({"width": size["width"], "height": size["height"]})
    print(f"{file.name}: {file.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(Path("runs"))
