"""Text from data that looks like HTML, Markdown, TeX or a template is shown as it stands, on every page.

Names of classes and of what was measured, the folder of the images, why trials failed and what they said: whoever can
write one of them must not draw on the page of the person who looks, nor have their browser ask another machine.
"""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
import pytest

from benchmarks.browser import CHROMIUM, browsing, dashboard
from nas import SearchSpace, Study
from nas.analysis.figures.style import plain
from nas.strategy.samplers import ValidSampler
from nas.study.config import StudyConfig
from nas.study.records import Outcome
from tests.app import test_pages

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytest.importorskip("streamlit")

PIECES = [
    "<b>x</b>",
    "<i>x</i>",
    "<script>document.title='hit'</script>",
    "<img src=x onerror=document.title='hit'>",
    '<a href="//evil.example/a">a</a>',
    "[click](http://evil.example/)",
    "![p](//evil.example/p.png)",
    "http://evil.example/bare",
    "$\\href{http://evil.example}{y}$",
    ":material/home:",
    ":smile:",
    ":red[r]",
    "**b**",
    "~~s~~",
    "`c`",
    "# h",
    "a -- b -> c",
    "\"q\" 'a'",
    "&lt;i&gt; &quot; &amp;",
    "%{x} {y} \\",
    "<br>",
    "ü 漢字 🎈",
]
HOSTILE = " ".join(PIECES)
MARKED = [piece for piece in PIECES if len(piece) > 4 and piece.isascii()]
TAGS = [piece for piece in PIECES if "<" in piece and piece not in ("<b>x</b>", "<br>")]  # our figures have those
SHOWN_AS_IT_IS = {"Text.body", "Code.code_text", "Selectbox.options", "Selectbox.raw_value", "TextInput.placeholder"}
NOT_SHOWN = {"PageLink.query_string", "BidiComponent.json"}
"""The fields of Streamlit's messages whose text no browser reads as Markdown; a page's figures are looked at apart."""
JOINER = "\u2060"
open_page = test_pages.open_page


def hostile_study(runs: Path, space: SearchSpace, measures: list[str]) -> Study:
    """Six complete trials that have measured all that, and two that failed with much to say."""
    classes = [f"{HOSTILE} {number}" for number in range(space.classes)]
    data = {"source": HOSTILE, "classes": classes, "train_images": 60, "validation_images": 60}
    study = Study.create("s", runs, StudyConfig(space, data, 0))
    for number in range(8):
        trial, record = study.ask(ValidSampler(("random", number), space, {}))
        if number < 6:
            values = dict.fromkeys(measures, 1.5 + number)
            study.tell(trial, Outcome(0.5 + number / 100, 1.0, (0.4, 0.5), measures=values))
            counts = np.random.default_rng(number).integers(0, 9, (space.classes, space.classes))
            np.save(study.confusion_file(record.trial), counts)
        else:
            study.tell(trial, Outcome(None, 1.0, reason=HOSTILE, detail=f"{HOSTILE}\n{HOSTILE}"))
    return study


def texts_of(message: Any) -> Iterator[tuple[str, str]]:
    """Every text in a message of Streamlit's, with the field that holds it."""
    for field, value in message.ListFields():
        values = value if field.is_repeated else [value]
        if field.message_type is not None:
            if not field.message_type.GetOptions().map_entry:
                for part in values:
                    yield from texts_of(part)
        else:
            yield from ((field.full_name, text) for text in values if isinstance(text, str))


def texts_in(value: object) -> Iterator[str]:
    """Every text in a figure."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from texts_in(part)
    elif isinstance(value, list):
        for part in value:
            yield from texts_in(part)


@pytest.fixture
def hostile(tmp_path: Path, tiny: SearchSpace) -> Study:
    return hostile_study(tmp_path, tiny, [HOSTILE])


@pytest.mark.parametrize(("page", "trial"), [*((page, 1) for page in test_pages.PAGES), ("architecture", 7)])
@pytest.mark.usefixtures("hostile")
def test_no_text_from_data_reaches_what_reads_markdown_or_html(
    open_page: test_pages.Open, page: str, trial: int, tally: Callable[[str, int], None]
) -> None:
    app = open_page(page, trial=str(trial), compared="0,1", axis=HOSTILE, budget="3")
    looked = 0
    for element in filter(lambda each: each.proto is not None, [*app.main, *app.sidebar]):
        for field, text in texts_of(element.proto):
            looked += 1
            if field.endswith(".id") or field in SHOWN_AS_IT_IS | NOT_SHOWN:
                continue
            assert not [piece for piece in PIECES if piece[0] != "ü" and len(piece) > 4 and piece in text], (
                field,
                text,
            )
    for figure in test_pages.figures(app).values():
        for text in texts_in(figure):
            looked += 1
            assert not [piece for piece in TAGS if piece in text], text
    assert looked > 20
    tally("texts on pages looked at", looked)


def test_what_plotly_is_given_says_the_same() -> None:
    assert plain("<b>a</b> & \"q\" 'a'") == "&lt;b&gt;a&lt;/b&gt; &amp; \"q\" 'a'"
    assert plain("abcdef", at_most=4) == "abc…"
    assert plain("<<<<<<", at_most=4) == "&lt;&lt;&lt;…"  # never half of an escape


needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt-get install chromium")
DRAWN_OF_IT = """() => {
  const ours = "[data-testid=stSidebar], [data-testid=stHeader], [data-testid=stButton], [data-testid=stAlert]"
  const made = "a, img, iframe, object, script, i, b, del, h1, code, .katex, [data-testid=stIconMaterial]"
  return [...document.querySelectorAll(made)]
    .filter(each => each.hostname === "evil.example" || /evil|hit/.test(each.src ?? "")
      || (/^(x|s|b|r|h|c|click|home)$/.test(each.textContent) && !each.closest(ours))
      || each.closest("[data-testid=stSlider]"))
    .map(each => each.outerHTML)
}"""
RESTS = "() => !document.querySelector('[data-testid=stApp][data-test-script-state=running]')"
STEP = "[data-testid=stSliderThumbValue]"


@pytest.fixture
def visit(tmp_path: Path) -> Iterator[Callable[[str], "Page"]]:
    """Opens a page of the dashboard on the studies there; its browser asks nobody else, and no script of data runs."""
    pytest.importorskip("playwright")
    with dashboard(tmp_path) as address, browsing() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 1400})
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))

        def go(path: str) -> "Page":
            page.goto(f"{address}/{path}")
            page.get_by_test_id("stSidebar").get_by_text("validation images").wait_for()
            page.wait_for_function(RESTS)
            return page

        yield go
        assert page.title() == "nas"
        elsewhere = [url for url in asked if not url.startswith((address, "data:", "blob:"))]
        assert not elsewhere


@needs_chromium
@pytest.mark.usefixtures("hostile")
def test_a_browser_draws_none_of_it_and_asks_nobody(visit: Callable[[str], "Page"]) -> None:
    query = f"trial=1&compared=0,1&budget=3&axis={quote(HOSTILE)}"
    for path in test_pages.PAGES:
        page = visit(f"{path if path != 'front' else ''}?{query}")
        if path == "front":
            check_axis(page, HOSTILE)
        if path == "architecture":
            tick = page.locator(".st-key-confusion .ytick text").first
            tick.wait_for()
            assert tick.text_content() == f"{HOSTILE[:23]}…"
        assert page.evaluate(DRAWN_OF_IT) == []
    assert visit("architecture?trial=7").get_by_test_id("stText").get_by_text(HOSTILE).count()


@needs_chromium
@pytest.mark.long
def test_whatever_is_measured_is_an_axis_by_its_name(
    visit: Callable[[str], "Page"], tmp_path: Path, tiny: SearchSpace, tally: Callable[[str, int], None]
) -> None:
    rng = random.Random(0)
    names = list(dict.fromkeys(" ".join(rng.choices(PIECES, k=rng.randint(1, 4))) for _ in range(60)))
    names += ["".join(chr(rng.randint(33, 126)) for _ in range(rng.randint(1, 30))) for _ in range(20)]
    hostile_study(tmp_path, tiny, names)
    for name in names:
        page = visit(f"?budget=3&axis={quote(name)}")
        check_axis(page, name)
        assert page.evaluate(DRAWN_OF_IT) == []
    tally("names shown by a browser", len(names))


def check_axis(page: "Page", name: str) -> None:
    """The slider of budgets and the figure say the name of a measure as it is."""
    thumb = page.locator(STEP).first
    thumb.wait_for()
    assert (thumb.text_content() or "").replace(JOINER, "") == f"3 {' '.join(name.split())}"
    title = page.locator(".st-key-front .xtitle").first
    title.wait_for()
    assert title.text_content() == (name if len(name) <= 80 else f"{name[:79]}…")
