"""The Schedules page in a browser: a variant added and moved, found again through the link, and carried to Train."""

import base64
import io
import re

import numpy as np
from PIL import Image
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
    page.locator(".noised th.at", has_text="t = 510").wait_for()  # of the server: the large pictures follow before it
    wait_until_idle(page)
    images = [pixels_of(image) for image in page.locator(".noised img").all()]
    page.reload()
    page.get_by_alt_text("power, power = 4 at t = 510").first.wait_for()
    train = page.get_by_role("link", name="Train with it")
    expect(train).to_have_count(2)  # the page fills from the top, and the first link is that of cosine
    wait_until_idle(page)
    for image, before in zip(page.locator(".noised img").all(), images, strict=True):
        assert np.abs(pixels_of(image).astype(int) - before.astype(int)).max() <= 1

    train.last.click()
    page.wait_for_function(
        "() => document.querySelector('.st-key-train_yaml textarea')?.value.includes('name: power\\n')"
        " && document.querySelector('.st-key-train_yaml textarea').value.includes('power: 4.0\\n')"
    )
    wait_until_idle(page)


def test_the_pictures_follow_the_hand_before_it_lets_go(page, app_url):
    """t said 0.62, and the pictures stayed at t = 300 until a second after the slider was let go."""
    open_page(page, f"{app_url}/schedules?sched=cosine,linear:num_timesteps=200&sched_t=0.25&sched_source=digits")
    page.get_by_alt_text("cosine at t = 250").first.wait_for()
    wait_until_idle(page)
    facts = page.locator(".noised .large .quiet").nth(1)
    page.locator(".st-key-sched_plot .js-plotly-plot .points path").first.wait_for()
    begun, marked = facts.inner_text(), marks(page)
    thumb = page.locator(".st-key-sched_t").get_by_role("slider")
    box, track = thumb.bounding_box(), page.locator(".st-key-sched_t").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(track["x"] + 0.7 * track["width"], box["y"] + box["height"] / 2, steps=8)
    image = page.locator(".noised .large img").nth(1)
    expect(image).not_to_have_attribute("alt", "cosine at t = 250")  # the hand still holds the slider
    assert "sched_t=0.25" in page.url
    held, moved = (image.get_attribute("alt"), pixels_of(image), facts.inner_text()), marks(page)
    assert held[2] != begun
    assert (np.abs(moved - marked)[:, 0] > 5).all()
    page.mouse.up()
    page.wait_for_url(re.compile(r"sched_t=0\.[67]"))
    wait_until_idle(page)
    assert image.get_attribute("alt") == held[0]  # and the server says the same
    assert np.abs(pixels_of(image).astype(int) - held[1].astype(int)).max() <= 1
    told, server_told = (re.findall(r"[-\d.]+", text) for text in (held[2], facts.inner_text()))
    np.testing.assert_allclose([float(x) for x in told], [float(x) for x in server_told], rtol=0.02, atol=0.1)
    np.testing.assert_allclose(moved, marks(page), atol=6)  # the axes make room for the marks anew

    mark = page.locator(".st-key-sched_plot .js-plotly-plot .points path").first
    mark.scroll_into_view_if_needed()
    box, before = mark.bounding_box(), image.get_attribute("alt")
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] - 200, box["y"] + 30, steps=8)
    expect(image).not_to_have_attribute("alt", before)
    held, url = image.get_attribute("alt"), page.url
    page.mouse.up()
    page.wait_for_function("url => location.href !== url", arg=url)
    wait_until_idle(page)
    assert image.get_attribute("alt") == held


def marks(page) -> np.ndarray:
    """Where the marks on the curves are, in pixels."""
    paths = page.locator(".st-key-sched_plot .js-plotly-plot .points path").all()
    return np.array([re.findall(r"[-\d.]+", path.get_attribute("transform")) for path in paths], float)


def pixels_of(image) -> np.ndarray:
    png = base64.b64decode(image.get_attribute("src").removeprefix("data:image/png;base64,"))
    return np.array(Image.open(io.BytesIO(png)).convert("RGB"))
