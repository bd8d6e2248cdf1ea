"""A leaky and a fixed run, looked at in one browser: what the page showed, and what they wrote."""

import json
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from running import ROOT, Place, Started, free_pair

from harness.patience import Patience

PICTURE = ROOT / "resources" / "live-page.png"
WIDE = {"width": 1040, "height": 900}
PHONE = {"width": 360, "height": 740}
RUN = ("--json", "--report-every", "0.5", "--forever")
PATIENCE_MS = 60_000


@dataclass(frozen=True)
class Seen:
    """What a visitor saw while the runs went on and after their end, and what the runs wrote.

    `live` and `ended` are what the page has by CSS selector; `violations` are axe's, by how the
    page was shown.
    """

    live: dict[str, list[str]]
    ended: dict[str, list[str]]
    tables: list[list[list[str]]]
    curves: dict[str, list[tuple[float, float]]]
    violations: dict[str, str]
    widths: dict[str, int]
    requested: set[str]
    problems: list[str]
    keyboard: list[str]
    flame: list[str]
    picture: bytes
    samples: dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def visits(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Seen]:
    """What was seen at each attempt; all tests ask of the same one."""
    return cache(lambda _: visited(tmp_path_factory))


@pytest.fixture
def seen(visits: Callable[[int], Seen], attempt: int) -> Seen:
    """The first visit, for a test that failed on it another one."""
    return visits(attempt)


def visited(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """Start both runs, visit the leaky one's page, end them, and return what was seen."""
    if not shutil.which("chromium"):
        pytest.skip("no chromium installed")
    place = Place(tmp_path_factory.mktemp("page"))
    try:
        found = visit(place)
        assert not place.leftovers()
    finally:
        place.kill_all()
    return found


def visit(place: Place) -> Seen:
    """Look at the page as its visitors do."""
    port, runs = start_pair(place)
    with browser_page() as page:
        page.set_default_timeout(PATIENCE_MS)
        requested: set[str] = set()
        problems: list[str] = []
        page.on("request", lambda request: requested.add(request.url))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(f"http://localhost:{port}/")
        page.wait_for_selector("article.leaky .verdict.leaking")
        page.wait_for_selector("article.fixed .verdict.stable")
        keyboard = by_keyboard(page)
        page.wait_for_selector("#open .held:not(:empty)")
        live = between_operations(page)
        page.uncheck("#to-limit")
        picture = page.screenshot(full_page=True, clip=upper_part(page))
        violations, widths = checked(page)
        flame = flame_graph(page)
        for run in runs.values():
            run.process.send_signal(signal.SIGTERM)
        page.wait_for_selector("text=The lab has ended")
        for details in page.locator("figure summary").all():
            details.click()
        ended, tables, curves = texts(page), read_tables(page), read_curves(page)
    samples = {name: reports(run.end().out) for name, run in runs.items()}
    return Seen(
        live, ended, tables, curves, violations, widths, requested, problems, keyboard, flame,
        picture, samples,
    )  # fmt: skip


def start_pair(place: Place) -> tuple[int, dict[str, Started]]:
    """Start leaky and fixed on two neighbouring free ports; try others where one was just taken."""
    for _ in range(10):
        port = free_pair()
        runs = {
            name: place.start(f"--{name}", *RUN, "--port", str(port + at))
            for at, name in enumerate(("leaky", "fixed"))
        }
        try:
            for run in runs.values():
                run.see('"server_port"')
        except AssertionError:
            place.kill_all()
        else:
            return port, runs
    raise AssertionError("no two neighbouring ports were free")


@contextmanager
def browser_page() -> Iterator[Any]:
    """Open an empty page in headless Chromium, the one that is installed."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        yield browser.new_context(viewport=WIDE, color_scheme="light").new_page()
        browser.close()


def between_operations(page: Any) -> dict[str, list[str]]:
    """Return the texts of a moment in which the last look found nothing open in the fixed run."""
    found: dict[str, list[str]] = {}

    def is_between() -> bool:
        found.update(texts(page))
        return found["#open caption"][1:] == ["fixed: nothing, at the last look"]

    assert Patience(PATIENCE_MS / 1000).until(is_between), found
    return found


def texts(page: Any) -> dict[str, list[str]]:
    """Return the texts of what the tests ask about, by selector, all of one moment."""
    selectors = (
        "#title", "#state", ".verdict", ".figures dd", ".notes li", "#open caption",
        "#open .count", "#open summary", "#open .held", "#open .stack li", "#profiles a",
        "svg text.limit",
    )  # fmt: skip
    found: dict[str, list[str]] = page.evaluate(READ, selectors)
    return found


READ = """selectors => {
  const all = selector => [...document.querySelectorAll(selector)];
  const texts = selectors.map(each => [each, all(each).map(found => found.textContent)]);
  return Object.fromEntries([...texts, ["svg", all("figure svg").map(svg => svg.ariaLabel)]]);
}"""


def upper_part(page: Any) -> dict[str, float]:
    """Return where the page is down to the first table of what is open."""
    table = page.locator("#open table").first.bounding_box()
    return {"x": 0, "y": 0, "width": WIDE["width"], "height": table["y"] + table["height"]}


def by_keyboard(page: Any) -> list[str]:
    """Go through the page with the tabulator key; open what opens; return what had the focus."""
    names = []
    for _ in range(12):
        page.keyboard.press("Tab")
        name = page.evaluate("document.activeElement.textContent || document.activeElement.id")
        names.append(name)
        if name == "to-limit":
            page.keyboard.press("Space")
        if name.startswith("opened at"):
            page.keyboard.press("Enter")
            break
    return names


def checked(page: Any) -> tuple[dict[str, str], dict[str, int]]:
    """Return axe's violations, light and dark, wide and on a phone, and how wide the page was."""
    from axe_playwright_python.sync_playwright import Axe

    violations, widths = {}, {}
    for name, scheme, size in (("light, wide", "light", WIDE), ("dark, phone", "dark", PHONE)):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size(size)
        found = Axe().run(page)
        violations[name] = found.generate_report() if found.violations_count else ""
        widths[name] = page.evaluate("document.documentElement.scrollWidth")
    return violations, widths


def flame_graph(page: Any) -> list[str]:
    """Follow the link to the profile of descriptors; return the titles of the graph's boxes."""
    other = page.context.new_page()
    other.goto(page.get_by_role("link", name="fd of leaky").get_attribute("href"))
    boxes = other.locator("#graph svg title").all_text_contents()
    other.close()
    return list(boxes)


def read_tables(page: Any) -> list[list[list[str]]]:
    """Return the rows of each chart's table, opened."""
    rows = "all => all.map(t => [...t.rows].map(r => [...r.cells].map(c => c.textContent)))"
    return list(page.locator("figure table").evaluate_all(rows))


def read_curves(page: Any) -> dict[str, list[tuple[float, float]]]:
    """Return the corners of the first chart's curves, in pixels from the top left."""
    drawn = {}
    for name in ("leaky", "fixed"):
        path = page.locator(f"figure >> nth=0 >> g.{name} path.curve").get_attribute("d")
        corners = [corner.split() for corner in path.replace("M", "L").split("L")[1:]]
        drawn[name] = [(float(x), float(y)) for x, y in corners]
    return drawn


def reports(out: str) -> list[dict[str, Any]]:
    """Return the samples that a run wrote, its last one too."""
    lines = [json.loads(line) for line in out.splitlines()]
    return [line for line in lines if line["event"] in ("report", "result")]


@pytest.fixture
def picture_path() -> Path:
    """The picture of the page in the documents."""
    return PICTURE
