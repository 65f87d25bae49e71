"""The Plane in a browser: a question is one click, the keyboard moves the clock, and a link brings all of it back."""

from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import expect

from tests.browser.driver import open_page, wait_until, wait_until_idle


def look(page) -> str | None:
    return parse_qs(urlsplit(page.url).query).get("plane_look", [None])[0]


def clock_of(page):
    return page.get_by_label("From noise to data")


def test_a_question_shows_its_answer_and_the_link_brings_back_what_was_done_with_it(page, app_url):
    open_page(page, f"{app_url}/plane")
    expect(clock_of(page)).to_have_value("1000")
    expect(page.get_by_label("arrows", exact=True)).not_to_be_checked()
    page.get_by_role("radio", name="What is the score?").click()
    wait_until(page, lambda: clock_of(page).input_value() == "800")
    wait_until_idle(page)
    expect(page.get_by_text("The arrows point uphill")).to_be_visible()
    expect(page.get_by_label("arrows", exact=True)).to_be_checked()
    expect(page.locator(".plane .moment")).to_contain_text("of 50, from t = ")
    expect(page.locator(".plane .caption")).to_have_text("log SNR = 2.25")
    clock_of(page).focus()
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    wait_until(page, lambda: look(page) == "0.797,1")
    wait_until_idle(page)
    page.reload()
    expect(clock_of(page)).to_have_value("797")
    expect(page.get_by_label("arrows", exact=True)).to_be_checked()
    expect(page.get_by_text("The arrows point uphill")).to_be_visible()


def test_other_arrows_are_seen_at_once_and_the_moment_stays(page, app_url):
    open_page(page, f"{app_url}/plane?plane_walks=DDIM,+5+steps")
    page.get_by_role("radio", name="eps", exact=True).click()
    expect(page.get_by_label("arrows", exact=True)).to_be_checked()  # at the result there are none
    expect(clock_of(page)).to_have_value("600")
    wait_until_idle(page)
    clock_of(page).focus()
    page.keyboard.press("ArrowRight")
    wait_until(page, lambda: look(page) == "0.601,1")
    wait_until_idle(page)
    page.get_by_role("radio", name="score", exact=True).click()
    wait_until_idle(page)
    expect(clock_of(page)).to_have_value("601")


def test_a_phone_holds_the_plane(page, app_url):
    page.set_viewport_size({"width": 420, "height": 900})
    open_page(page, f"{app_url}/plane")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    play = page.get_by_role("button", name="Play")
    play.press("Enter")
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    wait_until(page, lambda: 0 < int(clock_of(page).input_value()) < 1000)
    page.get_by_role("button", name="Pause").press("Enter")
    stopped = clock_of(page).input_value()
    wait_until_idle(page)
    assert abs(int(clock_of(page).input_value()) - int(stopped)) <= 1
