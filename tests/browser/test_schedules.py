"""The Schedules page in a browser: a variant added and moved, found again through the link, and carried to Train."""

import re

from playwright.sync_api import expect

from tests.browser.driver import open_page, wait_until_idle


def test_a_variant_is_added_moved_linked_and_carried_to_the_train_page(page, app_url):
    open_page(page, f"{app_url}/schedules?sched=cosine&sched_t=0.5&sched_source=digits")
    page.get_by_alt_text("cosine at t = 500").first.wait_for()
    page.locator(".st-key-sched_plot .js-plotly-plot:visible").first.wait_for()

    page.locator(".st-key-sched_add").get_by_role("button").click()
    page.get_by_text("power", exact=True).click()
    page.get_by_alt_text("power at t = 500").first.wait_for()
    thumb = page.locator(".st-key-sched_1_power_power").get_by_role("slider")
    thumb.focus()
    thumb.press("ArrowRight")
    page.get_by_alt_text("power, power = 4 at t = 500").first.wait_for()
    page.wait_for_url(re.compile(r"sched=cosine%2Cpower%3Apower%3D4"))

    thumb = page.locator(".st-key-sched_t").get_by_role("slider")
    thumb.focus()
    thumb.press("ArrowRight")
    page.get_by_alt_text("power, power = 4 at t = 510").first.wait_for()
    wait_until_idle(page)
    images = page.locator(".noised img").evaluate_all("images => images.map(image => image.src)")
    page.reload()
    page.get_by_alt_text("power, power = 4 at t = 510").first.wait_for()
    train = page.get_by_role("link", name="Train with it")
    expect(train).to_have_count(2)  # the page fills from the top, and the first link is that of cosine
    wait_until_idle(page)
    assert page.locator(".noised img").evaluate_all("images => images.map(image => image.src)") == images

    train.last.click()
    page.wait_for_function(
        "() => document.querySelector('.st-key-train_yaml textarea')?.value.includes('name: power\\n')"
        " && document.querySelector('.st-key-train_yaml textarea').value.includes('power: 4.0\\n')"
    )
    wait_until_idle(page)
