"""The pages of `--report` in a browser: clicks, keys, sorting, hover; no error and no request."""

import math
import shutil

import pytest

from initprobe import ProbeConfig, run, width
from initprobe.reports.html_diff import BothSides, Side, diff_page
from initprobe.reports.html_page import meaning
from initprobe.reports.html_run import run_page
from initprobe.reports.html_runs import card, runs_page
from initprobe.reports.html_width import width_page
from initprobe.reports.log_axis import log_ticks
from initprobe.results.digest import digest

NARROW = {"width": 360, "height": 700}
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no `chromium` program on the PATH")


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as library:
        program = library.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield program
        program.close()


@pytest.fixture(scope="module")
def results():
    """A net that vanishes and one that survives."""
    shape = {"act": "tanh", "layers": 6, "width": 20, "batch": 20, "draws": 1}
    return [run(ProbeConfig(init=init, **shape), threads=1) for init in ("normal:std=0.01", "xavier")]


@pytest.fixture
def opened(browser, tmp_path):
    """Open a page; at the end there must be neither a message in the console nor a request."""
    troubles, contexts = [], []

    def call(text, **settings):
        path = tmp_path / "report.html"
        path.write_text(text, encoding="utf-8")
        contexts.append(browser.new_context(**settings))
        page = contexts[-1].new_page()
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("request", lambda request: troubles.append(request.url) if request.url != path.as_uri() else None)
        page.goto(path.as_uri())
        return page

    yield call
    for context in contexts:
        context.close()
    assert troubles == []


def _text(page, selector):
    return page.inner_text(selector)


def test_the_page_of_one_result_works_in_a_browser(opened, results):
    page = opened(run_page(results[0], "initprobe run"), permissions=["clipboard-read", "clipboard-write"])
    assert page.locator(".uplot").count() == 3 and page.locator("svg.still").count() == 0
    assert _text(page, "#bars p").startswith("layer 1, output h")
    shown = '[data-chart="output"] .u-legend .u-value >> nth=0'
    assert _text(page, shown) == "1"  # the legend says the numbers of the chosen layer
    page.click('tbody tr[data-index="3"]')
    assert _text(page, "#bars p").startswith("layer 4, output h")
    page.focus('[data-chart="output"]')
    page.keyboard.press("ArrowRight")
    assert _text(page, "#bars p").startswith("layer 5, output h")
    area = page.locator('[data-chart="output"] .u-over')
    area.hover(position={"x": area.bounding_box()["width"] - 3, "y": 20})
    assert _text(page, "#bars p").startswith("layer 6, output h")
    assert page.locator("tr.chosen").get_attribute("data-index") == "5"
    page.select_option("#tensor", "output_gradient")
    assert "gradient" in _text(page, "#bars p")
    page.click("button.copy >> nth=0")
    assert page.evaluate("navigator.clipboard.readText()") == results[0].diagnosis[0].fix
    heading = page.locator("thead button", has_text="cos")
    heading.focus()
    assert _text(page, "#tip") == heading.get_attribute("aria-description") == meaning("correlation")
    page.keyboard.press("Escape")
    assert page.locator("#tip").is_hidden()
    page.locator("figcaption abbr").first.hover()
    assert _text(page, "#tip") == meaning("output.variance")


def test_the_legend_says_where_a_shorter_net_ends(opened, results):
    longer = run(ProbeConfig(init="he", act="relu", layers=8, width=8, batch=8, draws=1), threads=1)
    cards = [card({"layers": len(each.layers)}, each, "") for each in (results[1], longer)]
    page = opened(runs_page("a sweep", "2 of 2", cards, "initprobe sweep", None))
    values = page.locator('[data-chart="overview-output"] .u-legend .u-value').all_inner_texts()
    assert values[:2] == ["8", "ends at layer 6"] and "ends" not in values[2]


def test_theory_is_toggled(opened, results):
    page = opened(run_page(results[1], "initprobe run"))
    shown = '[data-chart="output"] .u-series.u-off'
    assert page.locator(shown).count() == 0 and page.locator("#bars polyline.theory").count() == 1
    page.uncheck("#theory")
    assert page.locator(shown).count() == 1 and page.locator("#bars polyline.theory").count() == 0


def test_ticks_of_a_log_axis_are_those_of_the_figures(opened, results):
    """From less than a thousandth of a decade to forty decades."""
    page = opened(run_page(results[0], "initprobe run"))
    for low, high in ((-20.3, 20.1), (-1.2, 1.1), (0.1, 0.9), (0.31, 0.43), (2.01, 2.05), (-3.44, -3.41)):
        assert page.evaluate("ends => logTicks(...ends)", [low, high]) == pytest.approx(log_ticks(low, high))


def test_the_widths_are_the_ticks_of_a_log_axis(opened, results):
    settings = {"widths": (16, 24, 64), "seeds": 1, "steps": 1, "try_fixes": False, "threads": 1}
    check = width(ProbeConfig(init="he", act="relu", layers=2), **settings)
    page = opened(width_page(check, "initprobe width"))
    axis = "document.querySelector('[data-chart=output-0]').plot"
    assert page.evaluate(f"{axis}.axes[0]._values") == ["16", "24", "64"]
    low, middle, high = (page.evaluate(f"{axis}.valToPos({place}, 'x')") for place in settings["widths"])
    assert (middle - low) / (high - low) == pytest.approx(math.log(24 / 16) / math.log(64 / 16), rel=0.02)
    assert high > 0.9 * page.evaluate(f"{axis}.over.clientWidth")  # the axis ends where the widths do


def test_a_table_is_sorted_by_numbers(opened, results):
    page = opened(run_page(results[0], "initprobe run"))
    heading = page.locator("thead th", has_text="h var").first
    column = heading.evaluate("cell => cell.cellIndex")
    values = f"rows => rows.map(row => Number(row.children[{column}].dataset.value))"
    for order, reverse in (("ascending", False), ("descending", True)):
        heading.locator("button").press("Enter")
        assert heading.get_attribute("aria-sort") == order
        sorted_values = page.locator('table[data-rows="layer"] tbody tr').evaluate_all(values)
        assert sorted_values == sorted(sorted_values, reverse=reverse) and sorted_values[0] != sorted_values[-1]


def test_the_page_works_without_scripts(opened, results):
    page = opened(run_page(results[0], "initprobe run"), java_script_enabled=False, color_scheme="dark")
    assert page.locator("svg.still").count() == 3
    assert page.locator("button.copy").first.is_hidden() and page.locator("#histogram").is_hidden()
    assert page.locator('table[data-rows="layer"] tbody tr').count() == 6


def test_the_page_of_many_runs_works_in_a_browser(opened, results):
    cards = [
        card({"init": init, "width": width, "residual": width == 10, "seed": seed}, result, "initprobe run")
        for init, result in zip(("small", "xavier"), results, strict=True)
        for width in (10, 20)
        for seed in (0, 1)
    ]
    page = opened(runs_page("a sweep", "8 runs", cards, "initprobe sweep", results[0].environment))
    rows = page.locator('table[data-rows="run"] tbody tr:visible')
    assert rows.count() == 8
    page.select_option("#filters select >> nth=0", "small")
    assert rows.count() == 4 and _text(page, "#shown").startswith("4 of 8 runs")
    page.select_option("#filters select >> nth=0", "")
    page.locator(".heat button").first.click()
    assert _text(page, "#run .words").lower() in ("vanishing output from layer 1", "survives")
    assert page.locator("#run .uplot").count() == 2
    page.select_option("#map-tools select >> nth=2", "output.variance")
    assert page.locator(".heat button").first.inner_text() != "survives"
    rows.nth(7).press("Enter")
    assert "seed=1" in _text(page, "#run h2")
    page.focus(".heat button >> nth=1")
    page.keyboard.press("Enter")
    assert page.locator("#run .members button").count() == 2
    page.click("#run .members button >> nth=1")
    assert "seed=1" in _text(page, "#run h2") and page.locator(".heat button.chosen").count() == 1


def test_any_axis_can_be_filtered(opened, results):
    """A list of few values, a range of many numbers, a part of many words."""
    cards = [
        card({"init.std": number / 7, "input": f"<b>{number}</b>.csv"}, results[number % 2], "") for number in range(40)
    ]
    page = opened(runs_page("a sweep", "40 runs", cards, "initprobe sweep", results[0].environment), viewport=NARROW)
    page.fill('#filters input[type="number"] >> nth=0', "5")
    assert _text(page, "#shown").startswith("5 of 40 runs")
    page.fill('#filters input[type="search"]', "<b>39")
    assert _text(page, "#shown").startswith("1 of 40 runs")
    page.fill('#filters input[type="number"] >> nth=0', "")
    page.fill('#filters input[type="search"]', "")
    assert page.locator(".heat button").count() == 40 and page.locator("main b").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") == NARROW["width"]


def test_long_names_fit_a_narrow_page(opened, results):
    """They are folded in lists, legends and heat maps; captions of wide tables stay in sight."""
    inits = [f"truncated_normal:std=0.0567890123,low=-1.512345,high=1.51234{number}" for number in range(3)]
    cards = [card({"init": init, "layers": layers}, results[0], "") for init in inits for layers in (4, 6)]
    text = runs_page("a sweep", "6 runs", cards, "initprobe sweep", results[0].environment)
    page = opened(text, viewport=NARROW)
    assert page.evaluate("document.documentElement.scrollWidth") == NARROW["width"]
    for selector in (".heat tbody th", "caption .line", ".u-legend tr", "#filters select"):
        for box in (item.bounding_box() for item in page.locator(selector).all()):
            assert box["x"] >= 0 and box["x"] + box["width"] <= NARROW["width"], selector
    assert page.locator(".heat tbody th").first.bounding_box()["width"] < NARROW["width"] / 2
    page.emulate_media(media="print")
    assert page.locator(".scroll").first.evaluate("place => getComputedStyle(place).overflowX") == "visible"
    assert page.locator("button.copy").first.is_hidden()


def test_a_variance_of_0_is_shown_as_0(opened, results):
    dead = run(ProbeConfig(init="zeros", act="tanh", layers=3, width=8, batch=8, draws=1), threads=1)
    cards = [card({"init": init, "act": act}, dead, "") for init in ("zeros", "none") for act in ("tanh", "erf")]
    cards.append(card({"init": "xavier", "act": "tanh"}, results[1], ""))
    page = opened(runs_page("a sweep", "5 runs", cards, "initprobe sweep", dead.environment))
    page.select_option("#map-tools select >> nth=2", "output.variance")
    shown = page.locator(".heat button").all_inner_texts()
    assert shown.count("0") == 4 and len(shown) == 5
    page.click('table[data-rows="run"] tbody tr[data-index="0"]')
    figure = '[data-chart="overview-output"]'
    page.focus(figure)
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    assert page.locator(f"{figure} .u-value").all_inner_texts()[:3] == ["3", "0", "0"]


def test_the_page_of_a_comparison_works_in_a_browser(opened, results):
    sides = [Side("done", digest(result)) for result in results]
    both = BothSides("the run", *sides, ["verdict was vanishing-output, is survives"])
    gone = BothSides("gone", sides[0], Side("missing", None), [])
    page = opened(diff_page("1 differs", [], [gone, both], [], "initprobe diff"))
    assert page.locator("#pair .uplot").count() == 4  # the first run that changed
    labels = page.locator("#pair figure").evaluate_all("all => all.map((figure) => figure.ariaLabel)")
    assert len(set(labels)) == 4 and ", OLD; " in labels[0] and ", NEW; " in labels[1]
    page.click('table[data-rows="pair"] tbody tr[data-index="0"]')
    assert page.locator("#pair .uplot").count() == 2 and "missing" in _text(page, "#pair")
    page = opened(diff_page("1 differs", [], [gone, both], [], "initprobe diff"), java_script_enabled=False)
    assert page.locator("noscript svg.still").count() == 2 and "NEW: survives" in _text(page, "main")
