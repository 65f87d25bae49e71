"""What a visitor meets: every page on a cold server, and the Playground's story from click to download."""

import base64
import io
import math
import re
import time
from pathlib import Path
from urllib.parse import urlsplit

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import expect

from ddpm import generate as generate_images
from ddpm import load_model, sample
from ddpm.config import sampling_settings
from ddpm.diffusion import OUTPUTS
from ddpm.media.images import EPS_RANGE, to_uint8
from ddpm.samplers import scales_at
from tests.browser.conftest import free_port, serve, server_at
from tests.browser.driver import open_page, unfold, wait_until, wait_until_idle

PAGES = {
    "": "DDPM Lab",
    "playground": "Playground",
    "draw": "Draw",
    "lessons": "Lessons",
    "ladder": "Ladder",
    "schedules": "Schedules",
    "plane": "Plane",
    "museum": "Museum",
    "train": "Train",
    "curves": "Curves",
    "evaluate": "Evaluate",
    "share": "Share",
}
PHONE = {"width": 420, "height": 840}
TABS = 90
# What axe-core finds in Streamlit's own, by rule: where in its markup. It writes the values of sliders and chosen
# segments in the primary colour, and white on that colour in buttons: on a dark page no colour has a contrast of 4.5 in
# both places. Ours has it in the buttons, and 3.5 in these. A place to drop several files has a name and no role.
STREAMLITS = {
    "color-contrast": "[data-testid=stSliderThumbValue], [data-selected=true]",
    "presentation-role-conflict": "[data-testid=stFileUploader]",
}


def axe_findings(page) -> list[str]:
    """What axe-core finds on the page in light and in dark, without what is Streamlit's own."""
    found = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_timeout(300)  # colours fade into each other
        found += [
            f"{scheme}: {violation['id']}: {node['target']} {node['html'][:200]}"
            for violation in Axe().run(page).response["violations"]
            for node in violation["nodes"]
            if not _is_inside(page, node["target"][0], STREAMLITS.get(violation["id"]))
        ]
    return found


def _is_inside(page, target: str, places: str | None) -> bool:
    """Whether an element is in one of ``places``, which axe's name for it may not tell."""
    inside = "([target, places]) => !!document.querySelector(target)?.closest(places)"
    return places is not None and page.evaluate(inside, [target, places])


@pytest.mark.parametrize("name", PAGES)
def test_every_deep_link_shows_the_full_frame_is_accessible_and_fits_a_phone(page, app_url, name):
    open_page(page, f"{app_url}/{name}")
    expect(page.locator("h1")).to_have_text(PAGES[name])
    links = page.locator("[data-testid=stSidebar] [data-testid=stPageLink-NavLink]")
    expect(links).to_have_count(len(PAGES))  # the sidebar is loaded after the rest of the page
    assert page.locator("[data-testid=stException], [data-testid=stAlertContentError]").count() == 0
    expect(page.get_by_text("What am I looking at?")).to_be_visible()
    expect(page.locator("[data-testid=stSkeleton]")).to_have_count(0)
    assert not (found := axe_findings(page)), "\n".join(found)
    page.set_viewport_size(PHONE)
    page.wait_for_function(
        "() => { const e = document.querySelector('[data-testid=stMain]'); return e.scrollWidth <= e.clientWidth }"
    )


def test_home_draws_the_digit_that_is_asked_for(page, app_url):
    open_page(page, app_url)
    image = page.locator(".st-key-home_picture img")
    movie = page.locator(".st-key-home_movie img")
    before, moving = image.get_attribute("src"), movie.get_attribute("src")
    assert moving.startswith("data:image/gif")
    page.locator(".st-key-home_digit").get_by_text("7", exact=True).click()
    page.get_by_text("Asked for a 7").wait_for()
    expect(image).not_to_have_attribute("src", before)
    expect(movie).not_to_have_attribute("src", moving)
    page.wait_for_url(re.compile("home_digit=7"))


def test_the_cards_of_the_home_page_stay_where_they_are_while_it_draws(page, app_url):
    open_page(page, app_url)
    card = page.locator("[data-testid=stMain] [data-testid=stPageLink]").last
    page.locator(".st-key-home_picture img").wait_for()
    place = card.bounding_box()
    page.locator(".st-key-home_digit").get_by_text("5", exact=True).click()
    page.get_by_text("Drawing").wait_for()
    assert card.bounding_box()["y"] == pytest.approx(place["y"], abs=2)
    page.get_by_text("Asked for a 5").wait_for()
    assert card.bounding_box()["y"] == pytest.approx(place["y"], abs=2)


def test_the_seed_that_is_shown_is_that_of_the_picture(page, app_url):
    """A box that refuses a number keeps it, also where another seed is rolled."""
    open_page(page, f"{app_url}/playground?play_count=1&play_steps=2")
    picture = result_image(page)
    box = page.locator(".st-key-play_seed input")
    box.fill("-5")
    box.press("Enter")
    page.wait_for_url(re.compile("play_seed=-5"))
    page.get_by_role("button", name="Roll", exact=True).click()
    expect(page.get_by_alt_text("generated images")).not_to_have_attribute("src", picture)
    expect(box).not_to_have_value("-5")
    page.wait_for_url(re.compile(f"play_seed={box.input_value()}(&|$)"))


def test_what_a_link_asks_for_in_vain_is_told(page, app_url):
    open_page(page, f"{app_url}/train?train_from=owl")
    said = "Left out of the link, since this page does not offer it: train_from=owl."
    expect(page.get_by_test_id("stToast")).to_contain_text(said)


def result_image(page) -> str:
    """The PNG of the grid on the page, as the server sent it."""
    page.locator(".st-key-sampling_stop").wait_for(state="detached", timeout=60_000)
    page.get_by_alt_text("generated images").wait_for()
    return page.get_by_alt_text("generated images").get_attribute("src")


def tab_to(page, selector: str) -> None:
    """Press Tab until the focus is in what the selector finds."""
    for _ in range(TABS):
        if page.locator(selector).first.evaluate("element => element.matches(':focus-within')"):
            return
        page.keyboard.press("Tab")
    pytest.fail(f"{TABS} tabs do not lead to {selector}")


def test_the_keyboard_alone_generates_steps_through_and_saves_and_the_history_leads_back(page, app_url):
    open_page(page, f"{app_url}/?home_digit=3")
    tab_to(page, "a[href$=playground]")
    page.keyboard.press("Enter")
    page.locator("h1", has_text="Playground").wait_for()
    picture = result_image(page)
    tab_to(page, ".st-key-play_live input")
    page.keyboard.press("Space")  # on a quick machine the picture would follow by itself
    page.wait_for_url(re.compile("play_live=false"))
    tab_to(page, ".st-key-play_steps [role=slider], .st-key-play_steps input")
    page.keyboard.press("Home")
    page.get_by_text("You've changed the settings").wait_for()
    tab_to(page, ".st-key-play_generate button")
    page.keyboard.press("Enter")
    expect(page.get_by_alt_text("generated images")).not_to_have_attribute("src", picture)
    wait_until_idle(page)
    tab_to(page, ".st-key-play_player input.slider")
    page.keyboard.press("Home")
    caption = page.locator(".st-key-play_player p.caption")
    expect(caption).to_have_text(re.compile("^t = 999"))
    page.keyboard.press("End")
    expect(caption).not_to_have_text(re.compile("^t = 999"))
    tab_to(page, "[data-testid=stDownloadButton]")
    with page.expect_download() as waiting:
        page.keyboard.press("Enter")
    with Image.open(waiting.value.path()) as image:
        assert image.format == "PNG"

    page.go_back()
    page.locator("h1", has_text="DDPM Lab").wait_for()
    page.get_by_text("Asked for a 3").wait_for()
    page.go_forward()
    page.locator("h1", has_text="Playground").wait_for()
    result_image(page)
    wait_until_idle(page)


def test_two_tabs_do_not_disturb_each_other_nor_a_reload_the_work(page, app_url):
    settings = "play_model=digits&play_count=4&play_draw=3"
    open_page(page, f"{app_url}/playground?{settings}&play_steps=5&play_seed=1")
    first = result_image(page)
    second = page.context.new_page()
    second.goto(f"{app_url}/playground?{settings}&play_steps=150&play_seed=1")
    second.get_by_alt_text("Noise so far").wait_for()
    second.reload()
    assert result_image(second) != first
    second.get_by_role("button", name="Roll", exact=True).click()
    wait_until_idle(second)
    assert result_image(page) == first
    page.get_by_role("button", name="Roll", exact=True).click()
    expect(page.get_by_alt_text("generated images")).not_to_have_attribute("src", first)
    wait_until_idle(page)
    wait_until_idle(second)


def test_a_preview_comes_at_once_and_sixteen_images_soon_after_the_click(page, app_url):
    open_page(page, f"{app_url}/playground?play_steps=20&play_count=16")
    result_image(page)
    model = load_model("mnist")
    settings = sampling_settings(model.config, num_steps=20)
    alone = time.monotonic()
    generate_images(model, 16, labels=range(10), settings=settings)
    alone = time.monotonic() - alone
    started = time.monotonic()
    page.get_by_role("button", name="Roll", exact=True).click()
    page.get_by_alt_text("Noise so far").wait_for()
    preview = time.monotonic() - started
    page.get_by_alt_text("16 generated images").wait_for()
    finished = time.monotonic() - started
    assert preview < finished
    # Against the same work outside of the page, since a busy machine is no fault of the page.
    assert finished < 3 + 3 * alone


def test_one_image_is_rolled_and_the_link_reproduces_it_elsewhere(page, app_url, browser, tmp_path):
    def cells() -> np.ndarray:
        """The four images of the picture, from its 2 x 2 grid."""
        data = result_image(page).partition(",")[2]
        grid = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
        half = grid.shape[0] // 2
        return np.stack([grid[y : y + half, x : x + half] for y in (0, half) for x in (0, half)])

    open_page(page, f"{app_url}/playground?play_steps=5&play_count=4&play_sampler=DPM-Solver%2B%2B&play_seed=12")
    before, picture = cells(), result_image(page)
    player = page.locator(".st-key-play_player")
    player.locator("select.which").select_option(value="2")
    player.locator("button.roll").click()
    expect(page.get_by_alt_text("4 generated images")).not_to_have_attribute("src", picture)
    wait_until_idle(page)
    changed = [not np.array_equal(*pair) for pair in zip(before, cells(), strict=True)]
    assert changed == [False, False, True, False]

    page.get_by_text("A link to this picture").click()
    link = urlsplit(page.locator("[data-testid=stCode]").first.inner_text())
    context = browser.new_context()
    try:
        with serve(tmp_path) as url:  # another server, another profile
            other = context.new_page()
            open_page(other, f"{url}/playground?{link.query}")
            assert result_image(other) == result_image(page)
            other.get_by_text("This is the picture of the link, to the last pixel.").wait_for()
            other.goto("about:blank")
    finally:
        context.close()


def test_the_third_picture_says_the_same_in_other_coordinates(page, app_url):
    open_page(page, f"{app_url}/playground?play_steps=5&play_count=1&play_draw=7&play_seed=4")
    model, player, frame = load_model("mnist"), page.locator(".st-key-play_player"), 2
    step = [*sample(model, 1, labels=[7], settings=sampling_settings(model.config, num_steps=5), seed=4)][frame]
    player.locator("input.slider").fill(str(frame))
    a, s = scales_at(model.schedule, step.t)
    expect(player.locator("p.caption")).to_contain_text(f"t = {step.t} · ᾱ = ")
    expect(player.locator("p.caption")).to_contain_text(f"log SNR = {2 * math.log(a / s):.2f}".replace("-", "−"))
    canvas = player.locator("canvas.eps")
    for kind, scale in (("v", 1), ("u", 1), ("score", s), ("eps", 1)):
        player.locator("select.third").select_option(value=kind)
        ours = to_uint8(scale * OUTPUTS[kind].of(a, s, step.x0, step.eps.clamp(-EPS_RANGE, EPS_RANGE)))[0, 0].int()

        def is_ours(ours=ours) -> bool:
            values = canvas.evaluate("c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]")
            size = math.isqrt(len(values) // 4)
            theirs = torch.tensor(values).view(size, size, 4)[..., 0]
            return theirs.shape == ours.shape and (theirs - ours).abs().max() <= 4  # the noise has steps of 3/127.5

        wait_until(page, is_ours)
    expect(canvas).to_have_attribute("aria-label", re.compile("^predicted noise ε, t = "))


def test_the_player_steps_and_plays_without_asking_the_server(page, app_url):
    messages = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda payload: messages.append(payload)))
    open_page(page, f"{app_url}/playground?play_steps=10&play_count=4&play_draw=no+class")
    player = page.locator(".st-key-play_player")
    slider, caption, verdict = (player.locator(name) for name in ("input.slider", "p.caption", "p.verdict"))
    slider.wait_for()
    expect(slider).to_have_attribute("max", "10")
    expect(slider).to_have_value("6")
    page.wait_for_timeout(500)
    messages.clear()

    def pixels() -> list[str]:
        return [canvas.evaluate("e => e.toDataURL()") for canvas in player.locator("canvas").all()]

    wait_until(page, lambda: len(set(pixels())) == 3)  # images are decoded when the browser finds time
    shown = pixels()
    slider.focus()
    slider.press("Home")
    expect(caption).to_have_text(re.compile("^t = 999"))
    wait_until(page, lambda: not set(shown) & set(pixels()))
    slider.press("ArrowRight")
    expect(caption).to_have_text(re.compile("^t = 899"))
    player.locator("canvas.x0").click(position={"x": 5, "y": 5})  # the first image, large
    expect(verdict).to_have_text(re.compile("^The classifier reads the guess as"))
    expect(player.locator(".shares polygon")).to_have_count(10)
    large = page.get_by_alt_text("4 generated images")
    size = large.bounding_box()
    large.click(position={"x": 0.75 * size["width"], "y": 0.75 * size["height"]})  # the last of two by two
    expect(player.locator("select.which")).to_have_value("3")
    player.locator("select.which").select_option(value="0")
    top = player.locator(".shares polygon").last  # of all digits together, at every frame: they add up to one
    heights = top.evaluate("area => Array.from({ length: 11 }, (_, k) => 1 - area.points[k].y)")
    np.testing.assert_allclose(heights, 1, atol=0.03)
    player.locator(".player").focus()
    page.keyboard.press("End")

    def shows_the_result() -> bool:
        state, guess, noise = pixels()
        return state == guess != noise

    wait_until(page, shows_the_result)
    page.keyboard.press("Home")
    player.locator("button.play").click()
    page.wait_for_function("e => Number(e.value) >= 5", arg=slider.element_handle())
    player.locator("button.play").click()
    assert messages == []


def test_every_download_opens(page, app_url):
    open_page(page, f"{app_url}/playground?play_steps=5&play_count=4&play_draw=3")

    def download(label: str) -> Path:
        with page.expect_download() as waiting:
            page.get_by_role("button", name=label, exact=True).click()
        return waiting.value.path()

    def frames_in(label: str) -> int:
        with Image.open(download(label)) as image:
            return getattr(image, "n_frames", 1)

    kept = download("PNG")
    with Image.open(kept) as image:
        assert image.format == "PNG"
    with Image.open(download("Strip")) as image:
        assert image.width / image.height == pytest.approx(6 / 8, rel=0.05)  # six moments; x_t and x0 of four images
    assert frames_in("GIF") == 6
    frames, seconds = imageio_ffmpeg.count_frames_and_secs(str(download("MP4")))
    assert (frames, round(seconds, 1)) == (6 + 24, 2.5)  # the last one is held for two seconds
    frames = page.locator(".st-key-play_frames").get_by_role("combobox")
    frames.click()
    for moment in ("t = 999", "t = 399", "result"):
        page.get_by_role("option", name=moment, exact=True).click()
        expect(page.locator(".st-key-play_frames").get_by_text(moment, exact=True)).to_be_visible()
    frames.press("Escape")

    def three_frames() -> bool:  # once the last choice has reached the server
        page.wait_for_timeout(500)  # a click while the page runs anew would be lost
        wait_until_idle(page)
        return frames_in("GIF") == 3

    wait_until(page, three_frames)
    with np.load(download("NPZ")) as arrays:
        assert arrays["images"].shape == (4, 32, 32, 1)
        assert arrays["labels"].tolist() == [3] * 4
    # Whoever has the file has its settings: dropped onto the Playground it opens the same picture.
    open_page(page, f"{app_url}/playground")
    unfold(page.get_by_test_id("stExpander").filter(has_text="Settings from a picture"))
    page.locator(".st-key-play_recipe input[type=file]").set_input_files(
        {"name": "kept.png", "mimeType": "image/png", "buffer": kept.read_bytes()}
    )
    link = page.get_by_role("link", name="Open its settings")
    page.goto(link.get_attribute("href"))
    page.get_by_text("This is the picture of the link, to the last pixel.").wait_for()
    assert "play_draw=3" in page.url


def test_stop_keeps_the_last_picture(page, app_url):
    open_page(page, f"{app_url}/playground?play_steps=5&play_count=4&play_live=false")
    before = result_image(page)
    steps = page.locator(".st-key-play_steps").get_by_role("slider")
    steps.focus()
    steps.press("End")
    page.get_by_text("You've changed the settings").wait_for()
    page.locator(".st-key-play_generate").get_by_role("button").click()
    page.locator(".st-key-sampling_stop").get_by_role("button").first.click()
    page.locator(".st-key-sampling_stop").wait_for(state="detached")
    wait_until_idle(page)
    assert result_image(page) == before


def test_a_server_that_is_killed_while_it_samples_and_restarted_draws_the_picture(browser, tmp_path, warm):
    port, context = free_port(), browser.new_context()
    page = context.new_page()
    try:
        with serve(tmp_path, port=port) as url:
            page.goto(f"{url}/playground?play_model=digits&play_count=4&play_steps=150")
            page.get_by_alt_text("Noise so far").wait_for(timeout=60_000)
            server_at(url).kill()
            page.get_by_text("Connection error").wait_for()
        with serve(tmp_path, port=port):
            result_image(page)
            assert page.locator("[data-testid=stException]").count() == 0
            page.goto("about:blank")
    finally:
        context.close()


def test_a_link_with_nonsense_in_it_still_opens(page, app_url):
    open_page(page, f"{app_url}/playground?play_model=../../etc/passwd&play_steps=-3&play_seed=x&play_count=9999999")
    assert page.locator("[data-testid=stException]").count() == 0
    result_image(page)


def test_the_code_on_the_page_is_a_command_of_this_repo(page, app_url):
    open_page(page, f"{app_url}/playground?play_steps=5&play_count=4")
    page.get_by_text("The same picture from the command line").click()
    page.locator("[data-testid=stCode]", has_text="python -m ddpm sample grid --model mnist").wait_for()


def test_stop_on_a_first_visit_stops_and_says_what_is_true(page, app_url):
    """It said that the last finished picture stays, of which there was none, and drew everything anew."""
    page.goto(f"{app_url}/playground?play_count=36&play_steps=200&play_live=false")
    page.locator(".st-key-sampling_stop").get_by_role("button").click()
    page.get_by_text("Stopped before a picture was finished").wait_for()
    wait_until_idle(page)
    expect(page.get_by_test_id("stToast")).to_have_count(0)
    expect(page.locator(".st-key-sampling_stop")).to_have_count(0)
    count = page.locator(".st-key-play_count input")
    count.fill("2")
    count.press("Enter")
    page.wait_for_url(re.compile("play_count=2"))
    wait_until_idle(page)
    page.get_by_text("Stopped before a picture was finished").wait_for()  # until one asks
    page.locator(".st-key-play_steps").get_by_role("slider").press("Home")
    page.wait_for_url(re.compile("play_steps=1(&|$)"))
    wait_until_idle(page)
    page.locator(".st-key-play_generate").get_by_role("button").click()
    page.get_by_alt_text("2 generated images").wait_for(timeout=60_000)
    expect(page.get_by_text("Stopped before a picture was finished")).to_have_count(0)


@pytest.mark.parametrize("way", ["the browser's Back", "the list of pages"])
def test_who_comes_back_finds_the_page_as_it_was(page, app_url, way):
    """Streamlit empties the link of a page that is left: defaults stood over the picture that one had made."""

    def settings() -> list[str]:
        steps = page.locator(".st-key-play_steps").get_by_role("slider").get_attribute("aria-valuetext")
        return [page.locator(".st-key-play_count input").input_value(), steps]

    open_page(page, f"{app_url}/playground?play_model=digits&play_steps=5&play_live=false")
    count = page.locator(".st-key-play_count input")
    count.fill("3")
    count.press("Enter")
    page.get_by_text("You've changed the settings").wait_for()
    page.locator(".st-key-play_generate").get_by_role("button").click()
    page.get_by_alt_text("3 generated images").wait_for()
    player = page.locator(".st-key-play_player")
    player.locator("select.which").select_option(value="1")
    player.locator("button.roll").click()
    page.wait_for_url(re.compile("play_rolled=1.1"))
    wait_until_idle(page)
    picture, address, chosen = result_image(page), page.url, settings()
    page.locator("[data-testid=stSidebar] a[href$=curves]").click()
    page.locator("h1", has_text="Curves").wait_for()
    wait_until_idle(page)
    assert "play_" not in page.url
    if way == "the list of pages":
        page.locator("[data-testid=stSidebar] a[href$=playground]").click()
    else:
        page.go_back()
    page.locator("h1", has_text="Playground").wait_for()
    page.get_by_alt_text("3 generated images").wait_for()
    wait_until_idle(page)
    assert result_image(page) == picture
    assert settings() == chosen
    expect(page.get_by_text("You've changed the settings")).to_have_count(0)
    page.wait_for_url(address)


def test_home_comes_back_with_the_digit_and_the_seed_that_one_had(page, app_url):
    open_page(page, f"{app_url}/?home_digit=7&seed=5")
    drawn = page.locator(".st-key-home_picture img").get_attribute("src")
    page.locator("[data-testid=stSidebar] a[href$=schedules]").click()
    page.locator("h1", has_text="Schedules").wait_for()
    wait_until_idle(page)
    page.go_back()
    page.get_by_text("Asked for a 7").wait_for()
    wait_until_idle(page)
    assert page.locator(".st-key-home_picture img").get_attribute("src") == drawn


def test_on_a_phone_the_controls_say_where_they_are(page, app_url):
    page.set_viewport_size(PHONE)
    open_page(page, f"{app_url}/playground")
    expand = page.get_by_test_id("stExpandSidebarButton")
    said = "e => getComputedStyle(e, '::after').content"
    wait_until(page, lambda: expand.evaluate(said) == '"Pages and settings"')  # the style may come after the button
    expand.click()
    page.locator(".st-key-play_steps").get_by_role("slider").wait_for()
