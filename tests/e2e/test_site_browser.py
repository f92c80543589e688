"""The site in a real browser, from its files: sorting, filters, themes, phones; no network, no errors."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.data import open_dataset
from leaderboard.aggregate import make_board
from leaderboard.site import write_site
from tests.site_samples import give_examples, synthetic_records, synthetic_run

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")

from selenium.common.exceptions import WebDriverException  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402

PHONE, DESKTOP = (360, 740), (1280, 900)
PATIENCE = 60  # seconds, for a loaded machine


class Browser:
    """A headless Chromium that keeps a log of its requests and of what scripts complain about."""

    def __init__(self, binary: str, driver: str, profile: Path) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = binary
        for argument in (
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            f"--user-data-dir={profile}",
        ):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(driver))
        self.driver.set_page_load_timeout(PATIENCE)

    def open(self, page: Path, size: tuple[int, int] = DESKTOP, dark: bool = False) -> None:
        """Open a page from its file on a screen of that size, in the system's light or dark theme."""
        self.resize(size)
        self.prefer("prefers-color-scheme", "dark" if dark else "light")
        self.driver.get(page.resolve().as_uri())

    def resize(self, size: tuple[int, int]) -> None:
        """Another screen."""
        width, height = size
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def prefer(self, feature: str, value: str) -> None:
        """A preference of the reader's system."""
        features = [{"name": feature, "value": value}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def run(self, script: str, *arguments: Any) -> Any:
        """The value of a script."""
        return self.driver.execute_script(f"return {script}", *arguments)

    def all(self, selector: str) -> list[Any]:
        """Elements by a CSS selector."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> Any:
        """The first element by a CSS selector."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def wait(self, condition: Callable[[], Any]) -> Any:
        """What a condition gives as soon as it is true."""
        return WebDriverWait(self.driver, PATIENCE, 0.05).until(lambda _: condition())

    def texts(self, selector: str) -> list[str]:
        """Text of the visible elements."""
        visible = "[...document.querySelectorAll(arguments[0])].filter(element => element.checkVisibility())"
        return self.run(f"{visible}.map(element => element.innerText)", selector)

    def names(self, kind: str) -> list[str]:
        """Methods in the visible rows of the ranked or the unranked body of the first visible table."""
        return self.texts(f"section.dataset:not([hidden]) tbody.{kind} tr[data-entry] .name")

    def background(self) -> tuple[int, ...]:
        """Colour of the page."""
        colour = self.run("getComputedStyle(document.body).backgroundColor")
        return tuple(int(part) for part in colour.strip("rgb()").split(","))

    def complaints(self) -> list[str]:
        """Errors and warnings on the console since the last look."""
        return [line["message"] for line in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Addresses that pages asked for since the last look."""
        messages = [json.loads(line["message"])["message"] for line in self.driver.get_log("performance")]
        sent = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        return [url for url in sent if not url.startswith("data:")]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all tests, or a skip with the reason."""
    binary = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    driver = os.environ.get("CHROMEDRIVER") or shutil.which("chromedriver")
    if not binary or not driver:
        pytest.skip("there is no Chromium with its driver: apt-get install chromium chromium-driver")
    with pytest.MonkeyPatch.context() as patch:
        # Selenium talks to the driver over HTTP on this machine; a proxy for the world outside cannot help.
        for name in ("NO_PROXY", "no_proxy"):
            patch.setenv(name, "localhost,127.0.0.1")
        try:
            started = Browser(binary, driver, tmp_path_factory.mktemp("profile"))
        except WebDriverException as error:
            pytest.skip(f"Chromium does not start here: {str(error.msg).splitlines()[0]}")
        yield started
        started.driver.quit()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, shapes_root: Path) -> Path:
    """Full runs of four methods with two seeds and marked runs, one run with pictures, on two datasets."""
    folder = tmp_path_factory.mktemp("a site")
    records = synthetic_records(methods=4, seeds=2, marked=2)
    records += [synthetic_run("pictured"), synthetic_run("synthetic-0", 0, "shapes")]
    stages = {"seeds": "train", "pseudo_eval": "train", "seg_eval": "val", "seg_crf_eval": "val"}
    give_examples(records[-2], folder / "work", open_dataset("shapes", shapes_root), stages)
    write_site(make_board(records), records, folder / "work", folder / "site")
    return folder / "site"


@pytest.fixture
def index(browser: Browser, site: Path) -> Browser:
    """The front page on a desktop."""
    browser.open(site / "index.html")
    browser.wait(lambda: browser.all("section.dataset:not([hidden]) .scatter svg a"))
    return browser


@pytest.fixture
def run_page(site: Path) -> Path:
    """The page of the run that has pictures."""
    return next(site.glob("runs/*pictured*/index.html"))


def header(browser: Browser, key: str) -> Any:
    return browser.one(f"section.dataset:not([hidden]) th[data-key='{key}']")


def test_pages_ask_for_nothing_but_files_of_the_site_and_complain_of_nothing(
    browser: Browser, site: Path, run_page: Path
) -> None:
    browser.requests(), browser.complaints()
    entry = next(site.glob("entries/*/index.html"))
    for page in (site / "index.html", run_page, entry):
        for dark in (False, True):
            browser.open(page, dark=dark)
            browser.wait(lambda: browser.run("document.readyState") == "complete")
    asked = browser.requests()
    assert len(asked) >= 12
    assert [url for url in asked if not url.startswith(f"{site.as_uri()}/")] == []
    assert browser.complaints() == []


def test_a_click_sorts_within_ranked_and_marked_runs(index: Browser) -> None:
    ranked, marked = index.names("ranked"), index.names("unranked")
    assert (len(ranked), len(marked)) == (5, 2)
    button = header(index, "seed_best").find_element(By.TAG_NAME, "button")
    button.click()
    assert header(index, "seed_best").get_attribute("aria-sort") == "descending"
    values = index.run(
        "[...document.querySelectorAll('section.dataset:not([hidden]) tbody.ranked tr')]"
        ".map(row => Number(row.cells[1].dataset.value))"
    )
    assert values == sorted(values, reverse=True)
    button.click()
    assert header(index, "seed_best").get_attribute("aria-sort") == "ascending"
    assert index.names("ranked") == list(reversed(ranked))
    assert sorted(index.names("unranked")) == sorted(marked)
    header(index, "name").find_element(By.TAG_NAME, "button").click()
    assert header(index, "seed_best").get_attribute("aria-sort") is None
    assert index.names("ranked") == sorted(ranked)


def test_the_keyboard_reaches_the_content_and_sorts(index: Browser) -> None:
    index.one("body").send_keys(Keys.TAB)
    assert index.driver.switch_to.active_element.get_attribute("class") == "skip"
    index.driver.switch_to.active_element.send_keys(Keys.ENTER)
    assert index.driver.switch_to.active_element.get_attribute("id") == "content"
    wanted = header(index, "name").find_element(By.TAG_NAME, "button")
    for _ in range(20):
        index.driver.switch_to.active_element.send_keys(Keys.TAB)
        if index.driver.switch_to.active_element == wanted:
            break
    assert index.driver.switch_to.active_element == wanted
    assert index.run("getComputedStyle(document.activeElement).outlineStyle") != "none"
    wanted.send_keys(Keys.ENTER)
    assert header(index, "name").get_attribute("aria-sort") == "ascending"
    wanted.send_keys(Keys.SPACE)
    assert header(index, "name").get_attribute("aria-sort") == "descending"
    assert index.names("ranked") == sorted(index.names("ranked"), reverse=True)


def test_filters_leave_what_fits_and_say_how_many(index: Browser) -> None:
    count = index.one(".count")
    assert count.text == "7 entries"
    index.one("input[name=text]").send_keys("SYNTHETIC 2")
    assert index.names("ranked") == ["Synthetic 2"]
    assert index.names("unranked") == []
    assert index.texts(".unranked-title") == []
    assert count.text == "1 of 7 entries"
    assert index.run("document.querySelectorAll('section.dataset:not([hidden]) .scatter svg a').length") == 1
    index.one("input[name=text]").clear()
    index.one("input[name=text]").send_keys("nobody")
    assert count.text == "0 of 7 entries"
    assert "No run has both" in index.texts("section.dataset:not([hidden]) .scatter")[0]


def test_choices_filter_by_method_kind_and_dataset(index: Browser) -> None:
    Select(index.one("select[name=kind]")).select_by_value("marked")
    assert (index.names("ranked"), len(index.names("unranked"))) == ([], 2)
    Select(index.one("select[name=kind]")).select_by_value("full")
    assert (len(index.names("ranked")), index.names("unranked")) == (5, [])
    Select(index.one("select[name=method]")).select_by_value("synthetic-0")
    assert index.names("ranked") == ["Synthetic 0"]
    Select(index.one("select[name=dataset]")).select_by_value("shapes")
    assert index.texts("section.dataset > h2") == ["shapes"]
    assert index.one(".count").text == "1 entry"
    Select(index.one("select[name=dataset]")).select_by_value("")
    assert {"coco", "shapes", "voc"} == set(index.texts("section.dataset > h2"))


def test_points_of_the_scatter_lead_to_runs_and_marked_ones_are_never_on_the_front(index: Browser) -> None:
    links = index.all("section.dataset:not([hidden]) .scatter svg a")
    assert len(links) == 7
    words = [link.get_attribute("aria-label") for link in links]
    front = [text for text in words if "Pareto front" in text]
    assert front
    assert not [text for text in front if "(marked)" in text]
    assert sum("(marked)" in text for text in words) == 2
    Select(index.one("section.dataset:not([hidden]) select[name=cost]")).select_by_value("energy")
    chart = index.one("section.dataset:not([hidden]) .scatter svg")
    assert "GPU energy, kWh" in chart.get_attribute("textContent")


def test_the_front_is_what_no_other_run_beats(index: Browser) -> None:
    points = [{"x": x, "y": y} for x, y in [(1, 5), (2, 4), (2, 7), (3, 7), (4, 9), (1, 3)]]
    front = index.run("Charts.paretoFront(arguments[0])", points)
    assert front == [{"x": 1, "y": 5}, {"x": 2, "y": 7}, {"x": 4, "y": 9}]


def test_the_heat_map_is_a_table_that_follows_its_choice(index: Browser) -> None:
    scope = "section.dataset:not([hidden]) .heat"
    assert len(index.all(f"{scope} tbody tr")) == 7
    assert len(index.all(f"{scope} thead th")) == 21
    before = index.texts(f"{scope} td")
    Select(index.one("section.dataset:not([hidden]) select[name=classes]")).select_by_value("pseudo")
    assert index.texts(f"{scope} td") != before
    assert index.all(f"{scope} td.top")
    assert not index.all(f"{scope} tr.apart td.top")


def test_curves_are_read_with_the_arrow_keys(index: Browser) -> None:
    chart = index.one("section.dataset:not([hidden]) .curves svg[tabindex]")
    chart.send_keys(Keys.ARROW_RIGHT)
    chart.send_keys(Keys.ARROW_RIGHT)
    assert index.texts("section.dataset:not([hidden]) .curves .readout")[0].startswith("threshold 0.02: ")


def test_the_theme_is_the_systems_until_the_reader_chooses(
    browser: Browser, site: Path, run_page: Path
) -> None:
    browser.open(site / "index.html", dark=True)
    assert max(browser.background()[:3]) < 60
    browser.open(site / "index.html")
    assert min(browser.background()[:3]) > 200
    toggle = browser.one(".theme-toggle")
    assert toggle.get_attribute("aria-pressed") == "false"
    toggle.click()
    assert toggle.get_attribute("aria-pressed") == "true"
    assert max(browser.background()[:3]) < 60
    browser.open(run_page)
    assert max(browser.background()[:3]) < 60, "the choice holds on other pages"
    browser.one(".theme-toggle").click()
    assert min(browser.background()[:3]) > 200
    browser.run("localStorage.clear()")


def test_nothing_sticks_out_on_a_phone(browser: Browser, site: Path, run_page: Path) -> None:
    for page in (site / "index.html", run_page, next(site.glob("entries/*/index.html"))):
        browser.open(page, PHONE)
        browser.wait(lambda: browser.run("document.readyState") == "complete")
        assert browser.run("document.documentElement.scrollWidth") == PHONE[0], page
        for details in browser.all("summary"):
            browser.run("arguments[0].click()", details)
        assert browser.run("document.documentElement.scrollWidth") == PHONE[0], page


def test_tables_scroll_inside_their_box_on_a_phone(browser: Browser, site: Path) -> None:
    browser.open(site / "index.html", PHONE)
    box = browser.one("section.dataset:not([hidden]) .results")
    assert browser.run("arguments[0].scrollWidth > arguments[0].clientWidth", box)
    assert box.get_attribute("tabindex") == "0"
    box.send_keys(Keys.ARROW_RIGHT)
    browser.wait(lambda: browser.run("arguments[0].scrollLeft", box) > 0)


def test_charts_are_drawn_for_the_width_that_they_have(index: Browser) -> None:
    def width() -> float:
        return index.run(
            "document.querySelector('section.dataset:not([hidden]) .scatter svg').viewBox.baseVal.width"
        )

    wide = width()
    index.resize(PHONE)
    index.wait(lambda: width() < wide / 2)


def test_pictures_lie_on_their_image_as_strongly_as_the_reader_likes(
    browser: Browser, run_page: Path
) -> None:
    browser.open(run_page)
    top = browser.one(".stack img + img")
    assert browser.run("getComputedStyle(arguments[0]).opacity", top) == "0.7"
    slider = browser.one("input[name=overlay]")
    slider.send_keys(Keys.HOME)
    assert browser.run("getComputedStyle(arguments[0]).opacity", top) == "0"
    browser.run("document.querySelectorAll('img').forEach(image => { image.loading = 'eager' })")
    browser.wait(lambda: browser.run("[...document.images].every(image => image.complete)"))
    assert browser.run("[...document.images].every(image => image.naturalWidth > 0)")


def test_a_number_leads_to_the_run_and_to_its_record(index: Browser) -> None:
    row = next(r for r in index.all("tr[data-method=pictured]") if r.is_displayed())
    row.find_elements(By.CSS_SELECTOR, "td a")[2].click()
    index.wait(lambda: index.driver.current_url.endswith("#pseudo"))
    assert index.one("h1").text == "Pictured on voc"
    assert index.all("tr#pseudo")
    record = index.one("a[download]").get_attribute("href")
    index.driver.get(record)
    assert json.loads(index.one("body").text)["method"] == "pictured"


def test_without_scripts_the_numbers_are_there(browser: Browser, site: Path) -> None:
    browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.open(site / "index.html")
        rows = browser.all("tr[data-entry]")
        assert len(rows) == 8
        assert all(row.is_displayed() for row in rows)
        assert not browser.one(".filters").is_displayed()
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_readers_who_want_no_motion_get_none(browser: Browser, site: Path) -> None:
    browser.open(site / "index.html")
    browser.prefer("prefers-reduced-motion", "reduce")
    assert browser.run("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
    styles = "[...document.querySelectorAll('*')].map(element => getComputedStyle(element))"
    moves = "style => parseFloat(style.transitionDuration) || parseFloat(style.animationDuration)"
    moving = browser.run(f"{styles}.filter({moves}).length")
    assert moving == 0
