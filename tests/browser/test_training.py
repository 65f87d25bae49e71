"""The story of a run in a browser: launched, watched, outliving tab and server, stopped, resumed, sampled."""

import re

from playwright.sync_api import expect

from ddpm.files import RunFolder
from ddpm.jobs import process_of, read_status
from tests.browser.conftest import serve
from tests.browser.driver import SLOW, open_page, wait_until_idle


def fill(page, section: str, field: str, value: str) -> None:
    box = page.locator(f".st-key-train_{section}_{field} input")
    box.fill(value)
    box.press("Enter")
    wait_for_yaml(page, f"  {field}: {value}\n")


def wait_for_yaml(page, text: str) -> None:
    page.wait_for_function(
        "text => document.querySelector('.st-key-train_yaml textarea')?.value.includes(text)", arg=text
    )


def press(page, action: str, run: str) -> None:
    page.locator(f".st-key-train_{action}_{run}").get_by_role("button").first.click()


def wait_for_state(page, run: str, state: str) -> None:
    card = page.locator("[data-testid=stVerticalBlock]", has_text=run).last
    card.get_by_text(state, exact=True).wait_for(timeout=SLOW)


def step_of(page) -> int:
    text = page.get_by_text(re.compile(r"^step [\d,]+ of [\d,]+")).first.inner_text(timeout=60_000)
    return int(re.match(r"step ([\d,]+)", text).group(1).replace(",", ""))


def test_the_story_of_a_run(page, chromium, folder, warm):
    with serve(folder) as url:
        open_page(page, f"{url}/train?train_from=digits")
        page.get_by_role("tab", name="Training").click()
        fill(page, "training", "epochs", "0")
        page.get_by_text("must be greater than or equal to 1").first.wait_for()
        expect(page.locator(".st-key-train_launch").get_by_role("button").first).to_be_disabled()
        fill(page, "training", "epochs", "25")
        fill(page, "training", "sample_every", "100")
        fill(page, "training", "log_every", "5")
        page.get_by_role("tab", name="Model").click()
        fill(page, "model", "base_channels", "8")  # a quarter of the width, since nobody looks at its images
        fill(page, "model", "head_channels", "8")
        page.get_by_text("Differs from digits in 5 fields").wait_for()
        page.locator(".st-key-train_launch").get_by_role("button").first.click()
        first = step_of(page)
        run = process_of(read_status(RunFolder(folder / "outputs" / "digits")))
        run.suspend()  # while nobody looks, so that few steps suffice for all that follows

        page.get_by_role("link", name="Curves").last.click()
        page.locator("h1", has_text="Curves").wait_for()
        page.locator(".st-key-curves_plot_loss .js-plotly-plot:visible").first.wait_for(timeout=60_000)
        run.resume()
        page.wait_for_function(  # live: nobody touches the page
            "before => Number(document.body.innerText.match(/step ([\\d,]+) of/)?.[1].replace(',', '')) > before",
            arg=first,
            timeout=120_000,
        )
        run.suspend()  # a signal that reaches it meanwhile is acted on when it goes on
        page.reload()
        page.locator(".st-key-curves_plot_loss .js-plotly-plot:visible").first.wait_for(timeout=60_000)
        page.goto("about:blank")  # which misses no server
    assert read_status(RunFolder(folder / "outputs" / "digits")).state == "running"

    with serve(folder) as url:
        open_page(page, f"{url}/train")
        assert step_of(page) >= first
        run.resume()
        press(page, "Stop", "digits")
        page.get_by_text("exactly to the bit, as if never interrupted").wait_for(timeout=SLOW)
        stopped = step_of(page)
        assert stopped < 525
        press(page, "Resume", "digits")
        wait_for_state(page, "digits", "running")
        wait_for_state(page, "digits", "finished")
        assert step_of(page) == 525

        open_page(page, f"{url}/curves")
        slider = page.get_by_role("slider", name="Samples after step")
        slider.wait_for()
        samples = page.get_by_alt_text("Samples after step")
        last = samples.get_attribute("src")
        slider.focus()
        slider.press("Home")
        expect(samples).not_to_have_attribute("src", last)

        open_page(page, f"{url}/train")
        page.locator("a[href*='play_model=run']", has_text="Playground").first.click()
        page.locator("h1", has_text="Playground").wait_for()
        page.get_by_alt_text("10 generated images").wait_for(timeout=60_000)
        assert "play_model=run" in page.url
        wait_until_idle(page)
        page.goto("about:blank")


def test_nothing_typed_is_lost_at_any_pace_even_while_the_page_still_measures(page, chromium, folder, warm):
    typed = {"epochs": "15", "sample_every": "120", "learning_rate": "0.002", "seed": "7", "log_every": "5"}
    with serve(folder) as url:  # a server that has measured nothing yet
        page.goto(f"{url}/train?train_from=digits")
        page.get_by_role("tab", name="Training").click()
        for field, value in typed.items():
            box = page.locator(f".st-key-train_training_{field} input")
            box.click()
            box.press("Control+a")
            box.press_sequentially(value, delay=30)
        page.locator("h1").click()
        page.get_by_text("≥").wait_for()  # the time is measured: the page is complete
        wait_until_idle(page)
        for field, value in typed.items():
            wait_for_yaml(page, f"  {field}: {value}\n")
            expect(page.locator(f".st-key-train_training_{field} input")).to_have_value(value)
        page.goto("about:blank")  # which misses no server
