"""The HTML page: what it embeds, and how it behaves in a real headless browser."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from xml.etree import ElementTree

import pyarrow as pa
import pytest

from nasbench_kd import Cell
from nasbench_kd.benchmark.scoring import open_scorer
from nasbench_kd.execution.runs import read_runs, write_runs
from nasbench_kd.report import write_html
from nasbench_kd.report.board import board
from nasbench_kd.report.replay import MOST_STEPS_OF_A_RUN, sample
from nasbench_kd.report.scored_runs import score_folder
from nasbench_kd.report.tables import to_csv
from nasbench_kd.report.verdict import ranking, verdict


@pytest.fixture(scope="module")
def page(runs_folder, tmp_path_factory):
    return write_html(runs_folder, output=tmp_path_factory.mktemp("page") / "report.html")


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium; tests that use it are skipped where it or Selenium is absent."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not found or not driver:
        pytest.skip("no Chromium with chromedriver on this machine")
    options = webdriver.ChromeOptions()
    options.binary_location = found
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.add_argument("--window-size=1280,1000")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield browser
    browser.quit()


@pytest.fixture
def shown(browser, page):
    """The page, freshly opened; its console is free of errors before and after the test."""
    browser.get(page.as_uri())
    yield browser
    assert browser.get_log("browser") == []


def css(browser, selector):
    return browser.find_elements("css selector", selector)


def visible_rows(browser):
    rows = css(browser, "#leaderboard tbody tr")
    return [row for row in rows if row.is_displayed()]


def first_column(browser):
    return [css(row, "th")[0].text for row in visible_rows(browser)]


def test_page_is_self_contained_and_stable(page, runs_folder, tmp_path):
    text = page.read_text()
    links = re.findall(r"""(?:src|href|action|poster)\s*=\s*["']?([^"'\s>]+)""", text)
    assert links
    assert all(link.startswith(("#", "data:")) for link in links)
    assert "@import" not in text
    assert set(re.findall(r"url\((.)", text)) <= {"#"}  # within the page
    assert not re.search(r"\{\{\w+\}\}", text)
    assert write_html(runs_folder, output=tmp_path / "again.html").read_text() == text
    assert len(text) < 3_000_000


def test_page_holds_the_numbers_of_the_leaderboard(page, runs_folder):
    text = page.read_text()
    scored = score_folder(runs_folder)
    assert text.count("<tr data-task=") == len(scored.rows) == 30
    for row in scored.rows:
        if row.iqm_regret:
            low, high = f"{row.iqm_regret.low:.3f}", f"{row.iqm_regret.high:.3f}"
            assert f"{row.iqm_regret.estimate:.3f} <small>[{low}, {high}]</small>" in text
    assert "8 of 8 runs failed: RuntimeError in ask: no luck | today" in text
    assert "noise ceiling" in text


def test_replay_holds_the_stored_steps(runs_folder):
    path = runs_folder / "runs.parquet"
    scored = score_folder(runs_folder)
    found = sample(scored.file, scored.readings, scored.scorers)
    assert (len(found["runs"]), found["total"]) == (80, 80)
    stored = {(r["optimizer"], r["task"], r["repetition"]): r for r in read_runs(path).table.to_pylist()}
    for run in found["runs"]:
        key = (
            scored.readings.optimizers[run["optimizer"]],
            scored.readings.tasks[run["task"]],
            run["repetition"],
        )
        row = stored[key]
        assert run["steps"] == len(row["cell"])
        assert run["cell"] == row["cell"][:MOST_STEPS_OF_A_RUN]
        assert run["charged"] == [round(value / 1e6) for value in row["charged"]][:MOST_STEPS_OF_A_RUN]
        assert [found["fidelities"][code] for code in run["fidelity"]] == row["fidelity"][
            :MOST_STEPS_OF_A_RUN
        ]
        assert run["ending"] == row["ending"]
        scorer = open_scorer(key[1])
        if run["answer"] and key[0] != "shy":
            shown = row["training_seed"][row["cell"].index(row["answer"][-1])]
            expected = scorer.best - scorer.scores([row["answer"][-1]], [shown])[0]
            if len(row["cell"]) <= MOST_STEPS_OF_A_RUN:
                assert run["regret"][-1] == pytest.approx(expected, abs=1e-3)
    for index, codes in found["codes"].items():
        assert Cell.from_index(index).codes == tuple(map(int, codes))


def test_replay_bounds_the_page(runs_folder, monkeypatch):
    monkeypatch.setattr("nasbench_kd.report.replay.MOST_STEPS", 10)
    scored = score_folder(runs_folder)
    found = sample(scored.file, scored.readings, scored.scorers)
    assert {run["repetition"] for run in found["runs"]} == {0}
    assert len(found["runs"]) == 10


def test_names_cannot_break_out_of_the_page(runs_folder, tmp_path):

    stored = read_runs(runs_folder / "runs.parquet")
    name = "</script><script>alert(1)</script>"
    renamed = [name if text == "random" else text for text in stored.table["optimizer"].to_pylist()]
    index = stored.table.schema.get_field_index("optimizer")

    table = stored.table.set_column(index, "optimizer", pa.array(renamed))
    write_runs(tmp_path / "runs.parquet", table, stored.metadata)
    text = write_html(tmp_path).read_text()
    assert name not in text
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert name in json.loads(data[1])["optimizers"]


def test_filters_and_sorting_by_keyboard(shown):
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import Select

    assert first_column(shown)[-1] == "broken"
    assert len(visible_rows(shown)) == 10
    Select(shown.find_element("id", "task-filter")).select_by_visible_text("cifar10")
    assert len(visible_rows(shown)) == 5
    Select(shown.find_element("id", "budget-filter")).select_by_visible_text("all budgets")
    assert len(visible_rows(shown)) == 15
    Select(shown.find_element("id", "budget-filter")).select_by_visible_text("5 gpu-hours")
    header = next(h for h in css(shown, "#leaderboard thead th") if "accuracy" in h.text)
    button = css(header, "button")[0]
    button.send_keys(Keys.ENTER)
    assert header.get_attribute("aria-sort") == "ascending"

    def accuracies():
        column = header.get_property("cellIndex")
        texts = [css(row, "th, td")[column].text for row in visible_rows(shown)]
        return [float(text.split(" ±")[0]) for text in texts if text]

    assert accuracies() == sorted(accuracies())
    assert first_column(shown)[-1] == "broken"
    button.send_keys(Keys.SPACE)
    assert header.get_attribute("aria-sort") == "descending"
    assert accuracies() == sorted(accuracies(), reverse=True)
    assert first_column(shown)[-1] == "broken"
    status = shown.find_element("id", "sort-status")
    assert "accuracy, descending" in status.get_attribute("textContent")


def test_charts_give_values_by_arrow_keys_and_pointer(shown):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    figure = css(shown, '[data-chart="anytime"] figure')[0]
    svg = css(figure, "svg")[0]
    svg.send_keys(Keys.END)
    text = css(figure, ".values")[0].text
    row = next(r for r in open_rows(shown) if r[0] == "random")
    assert "20 simulated GPU-hours" in text
    assert f"random\n{float(row[1]):.2f} [" in text
    svg.send_keys(Keys.ARROW_LEFT)
    assert css(figure, ".values")[0].text != text
    svg.send_keys(Keys.ESCAPE)
    assert css(figure, ".values")[0].text == ""
    ActionChains(shown).move_to_element(svg).perform()
    assert "simulated GPU-hours" in css(figure, ".values")[0].text
    coloured = len(css(figure, ".line.chosen"))
    toggle = css(shown, ".legend button")[0]
    toggle.send_keys(Keys.ENTER)
    assert toggle.get_attribute("aria-pressed") == "false"
    assert len(css(figure, ".line.chosen")) == coloured - 1
    assert all(len(css(legend, "button")) == 4 for legend in css(shown, ".legend"))
    bands = [band for band in css(figure, "polygon") if band.is_displayed()]
    assert len(bands) == coloured - 1


def test_a_grey_line_is_named_where_the_pointer_meets_it(shown):
    from selenium.webdriver.common.action_chains import ActionChains

    buttons = css(shown, ".legend")[0].find_elements("css selector", "button")
    for button in buttons:
        button.click()
    figure = css(shown, '[data-chart="anytime"] figure')[0]
    assert css(figure, ".line.chosen") == []
    line = css(figure, "polyline")[0]
    end = line.get_attribute("points").split()[-1].split(",")
    svg = css(figure, "svg")[0]
    shown.execute_script("arguments[0].scrollIntoView({block: 'center'})", svg)
    size = svg.size
    place = [(float(end[0]) / 400 - 0.5) * size["width"] - 1, (float(end[1]) / 290 - 0.5) * size["height"]]
    ActionChains(shown).move_to_element_with_offset(svg, *map(round, place)).perform()
    (named,) = css(figure, ".values li")
    names = [button.text for button in buttons]
    assert named.text.split("\n")[0] in names


def test_panels_share_one_scale_and_name_their_axes(shown):
    for kind, words in (("anytime", "regret in points"), ("ranks", "mean rank")):
        panels = css(shown, f'[data-chart="{kind}"] figure')
        assert len(panels) == 2
        texts = [[text.text for text in css(panel, "svg text")] for panel in panels]
        assert texts[0] == texts[1]
        assert any(words in text for text in texts[0])
        assert "simulated GPU-hours" in texts[0]
    # Regret has decades; what is less than a hundredth stands at the lowest one.
    anytime = css(shown, '[data-chart="anytime"] figure')
    marked = [any(text.text == "\u2264 0.01" for text in css(panel, "svg text")) for panel in anytime]
    drawn = json.loads(shown.find_element("id", "data").get_attribute("textContent"))["anytime"]
    least = min(value for curves in drawn.values() for curve in curves for value in curve["y"])
    assert marked == [least <= 0.01] * 2
    points = [line.get_attribute("points") for panel in anytime for line in css(panel, "polyline, polygon")]
    assert points
    assert not any("NaN" in each for each in points)


def test_the_verdict_comes_first(shown, runs_folder):
    main = css(shown, "main")[0].text
    sentence = verdict(score_folder(runs_folder))
    assert main.split("\n")[1] == sentence
    scored = score_folder(runs_folder)
    placed = [row.method for row in board(scored, runs_folder)]
    ranked = [row.optimizer for row in ranking(scored)]
    assert [name.text for name in css(shown, "#verdict tbody th")][:9] == placed + ranked
    assert "Who wins where" in main


def test_files_and_charts_are_downloaded(shown, runs_folder):
    taken = """
        const [button, done] = arguments, make = URL.createObjectURL;
        URL.createObjectURL = (blob) => { blob.text().then(done); return make(blob); };
        button.click();
        URL.createObjectURL = make;
    """
    scored = score_folder(runs_folder)
    told = {button.text: button for button in css(shown, "#downloads button")}
    assert shown.execute_async_script(taken, told["leaderboard.csv"]) == to_csv(scored.rows, scored.scorers)
    assert "\\toprule" in shown.execute_async_script(taken, told["leaderboard.tex"])
    chart = css(shown, '[data-chart="anytime"] .download')[0]
    drawn = ElementTree.fromstring(shown.execute_async_script(taken, chart))
    lines = drawn.findall(".//{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == 4
    assert all("var(" not in line.get("stroke") for line in lines)


def test_the_works_are_cited(shown):
    text = css(shown, "#cite pre")[0].text
    assert "@misc{nasbenchkd" in text
    assert "10.1109/TPAMI.2021.3054824" in text


def open_rows(browser):
    """Optimizer and IQM regret of the rows that the leaderboard shows."""
    return [
        (css(row, "th")[0].text, css(row, "td")[2].get_attribute("data-value"))
        for row in visible_rows(browser)
    ]


def test_replay_steps_through_a_run(shown, runs_folder):
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import Select

    Select(shown.find_element("id", "replay-optimizer")).select_by_visible_text("hillclimb")
    Select(shown.find_element("id", "replay-task")).select_by_visible_text("cifar100")
    Select(shown.find_element("id", "replay-repetition")).select_by_visible_text("3")
    rows = read_runs(runs_folder / "runs.parquet").table.to_pylist()
    run = next(
        r for r in rows if (r["optimizer"], r["task"], r["repetition"]) == ("hillclimb", "cifar100", 3)
    )
    facts = shown.find_element("id", "replay-facts")
    assert f"cell {run['cell'][0]} at none@200" in facts.text
    assert str(Cell.from_index(run["cell"][0])) in facts.text
    shown.find_element("id", "replay-step").send_keys(Keys.ARROW_RIGHT)
    assert f"cell {run['cell'][1]} at none@200" in facts.text
    assert f"{run['value'][1]:.2f} % validation accuracy" in facts.text
    css(shown, '[data-step="last"]')[0].send_keys(Keys.ENTER)
    assert f"Step\n{len(run['cell'])} of {len(run['cell'])}" in facts.text
    assert f"budget: {run['reason']}" in facts.text
    assert len(css(shown, "#replay-table tr.now")) == 1
    Select(shown.find_element("id", "replay-optimizer")).select_by_visible_text("broken")
    assert "no luck | today" in facts.text


def test_dark_mode_print_and_reading_order(shown):
    def media(**features):
        shown.execute_cdp_cmd(
            "Emulation.setEmulatedMedia",
            {
                "media": features.pop("media", ""),
                "features": [{"name": k.replace("_", "-"), "value": v} for k, v in features.items()],
            },
        )

    background = "return getComputedStyle(document.body).backgroundColor"
    media(prefers_color_scheme="light")
    assert shown.execute_script(background) == "rgb(255, 255, 255)"
    media(prefers_color_scheme="dark")
    assert shown.execute_script(background) == "rgb(15, 19, 24)"
    media(media="print")
    assert len(visible_rows(shown)) == 30
    assert not shown.find_element("id", "replay").is_displayed()
    media()
    levels = [int(h.tag_name[1]) for h in css(shown, "h1, h2, h3")]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    unnamed = shown.execute_script(
        "return [...document.querySelectorAll('svg[role=img], select, input, [role=region]')].filter("
        "n => !(n.getAttribute('aria-label') || n.closest('label'))).length"
    )
    assert unnamed == 0
    assert shown.execute_script("return document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("width", [390, 820, 1600])
def test_page_fits_telephones_tablets_and_screens(shown, width):
    shown.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False},
    )
    try:
        assert shown.execute_script("return document.documentElement.scrollWidth") <= width
        leaderboard = css(shown, "#leaderboard .scroll")[0]
        shown.execute_script("arguments[0].scrollLeft = 500", leaderboard)
        name = css(visible_rows(shown)[0], "th")[0]
        assert abs(name.rect["x"] - leaderboard.rect["x"]) <= 1  # the first column stays
        shown.execute_script("document.getElementById('replay').scrollIntoView()")
        top = "return document.querySelector('nav').getBoundingClientRect().top"
        assert abs(shown.execute_script(top)) <= 1  # and so does the navigation
    finally:
        shown.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
