"""A public page in a browser: every page opens, the queue shows one's place, and who leaves frees it."""

import re
from urllib.parse import quote

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import ROOT, serve
from tests.browser.driver import open_page, wait_until_idle
from tests.browser.test_app import PAGES

LONG = "playground?play_model=digits&play_count=20&play_steps=1000"  # 40,000 evaluations of a small network


@pytest.fixture(scope="module")
def public_url(chromium, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DDPM_PUBLIC", "1")
        patch.setenv("DDPM_MAX_EVALUATIONS", "40000")
        with serve(tmp_path_factory.mktemp("public")) as url:
            yield url


LINKS = [*sorted(PAGES.keys() - {"playground"}), "playground?play_model=digits", "evaluate?eval_second=/etc/passwd"]


@pytest.mark.parametrize("name", LINKS)
def test_every_page_opens_in_public(page, public_url, name):
    open_page(page, f"{public_url}/{name}")
    assert page.locator("[data-testid=stException]").count() == 0
    said = page.locator("body").inner_text()
    assert str(ROOT) not in said
    assert "/tmp/" not in said
    if name == "train":
        assert page.get_by_role("button", name="Launch").first.is_disabled()
        page.get_by_text("Training is off on this public page").wait_for()


def test_one_waits_sees_ones_place_and_goes_on_when_the_other_leaves(page, browser, public_url):
    context = browser.new_context()
    other = context.new_page()
    other.goto(f"{public_url}/{LONG}")
    other.get_by_alt_text("Noise so far").wait_for(timeout=60_000)
    page.goto(f"{public_url}/{LONG}&play_seed=1")
    page.get_by_text("Waiting for this machine: 1 ahead of you, about").wait_for(timeout=60_000)
    context.close()
    page.get_by_alt_text("Noise so far").wait_for(timeout=60_000)
    page.goto("about:blank")


def test_two_who_ask_for_one_picture_watch_one_drawing_and_either_may_leave(page, browser, public_url):
    context = browser.new_context()
    other = context.new_page()
    other.goto(f"{public_url}/{LONG}&play_seed=7")
    other.get_by_alt_text("Noise so far").wait_for(timeout=60_000)
    page.goto(f"{public_url}/{LONG}&play_seed=7")
    page.get_by_alt_text("Noise so far").wait_for(timeout=60_000)  # at once: nobody is ahead
    page.locator(".st-key-sampling_stop").get_by_role("button").click()
    page.get_by_text("Stopped before a picture was finished").wait_for()
    step = other.get_by_text(re.compile(r"Step \d+ of 1000"))
    before = step.inner_text()
    expect(step).not_to_have_text(before)  # it goes on for the other
    page.locator(".st-key-play_generate").get_by_role("button").click()
    page.get_by_alt_text("Noise so far").wait_for(timeout=60_000)
    context.close()
    page.get_by_text(re.compile(r"Step \d+ of 1000")).wait_for(timeout=60_000)  # drawn for who is left
    page.goto("about:blank")


def test_stop_leaves_the_queue_and_a_short_request_passes_a_long_one(page, browser, public_url):
    open_page(page, f"{public_url}/playground?play_model=digits&play_count=1&play_steps=2")
    context = browser.new_context()
    try:
        other = context.new_page()
        other.goto(f"{public_url}/{LONG}")
        other.get_by_alt_text("Noise so far").wait_for(timeout=60_000)
        page.locator(".st-key-play_roll").get_by_role("button").click()
        wait_until_idle(page)
        page.get_by_alt_text("1 generated images").wait_for()
        assert other.get_by_alt_text("20 generated images").count() == 0  # still at work

        third = context.new_page()
        third.goto(f"{public_url}/{LONG}&play_seed=2")
        third.get_by_text("1 ahead of you").wait_for(timeout=60_000)
        third.locator(".st-key-sampling_stop").get_by_role("button").click()
        fourth = context.new_page()
        fourth.goto(f"{public_url}/{LONG}&play_seed=3")
        fourth.get_by_text("ahead of you").wait_for(timeout=60_000)
    finally:
        context.close()


LURE = "[Sign in](http://evil.example)![x](http://evil.example/x) https://evil.example www.evil.example :material/home:"


@pytest.mark.parametrize(
    "link",
    [f"playground?play_model={LURE}", f"playground?play_rolled={LURE}", f"ladder?ladder_most={LURE}"],
)
def test_what_a_link_says_is_no_link_and_no_picture(page, public_url, link):
    """Streamlit makes links of plain text as well; that an image is loaded would fail the test by itself."""
    open_page(page, f"{public_url}/{quote(link, safe='?=/')}")
    page.get_by_text("[Sign in]").first.wait_for()
    assert page.locator("[href*='evil']").count() == page.locator("img[src*='evil']").count() == 0
    assert page.locator("[data-testid=stMarkdown] [aria-label='home icon']").count() == 0
