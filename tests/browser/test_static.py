"""The static page from a plain file server: it draws what the library draws, and needs nobody but that server."""

import io
import json
import os
import re
import shutil
from urllib.parse import parse_qs

import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import expect

from ddpm import editing, generate, load_model, sample
from ddpm.config import sampling_settings
from ddpm.deploy.onnx_file import onnx_bytes
from ddpm.deploy.space import write_space
from ddpm.deploy.static_page import MAX_BYTES, NETWORK, static_files
from ddpm.errors import DDPMError
from ddpm.evaluation.classifier import classify
from ddpm.media.strokes import read_strokes, sketch_of
from ddpm.randomness import ImageNoise
from ddpm.spacing import SPACINGS, spaced_timesteps
from tests.browser.conftest import plain_server
from tests.browser.driver import wait_until
from tests.browser.test_app import PHONE, axe_findings
from tests.exported import keep_exported
from tests.test_static_page import DISTILLED

ROUNDS = 13 if os.environ.get("DDPM_SOAK") else 1  # of 16 digits
DONE = 120_000  # milliseconds
SOFTWARE_WEBGPU = ["--no-sandbox", "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"]


@pytest.fixture(scope="module", autouse=True)
def no_lessons():
    """Their pictures take long, and are drawn in test_lessons.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ddpm.deploy.static_page.lessons_json", lambda models: b"[]")
        yield


@pytest.fixture(scope="module")
def pages(chromium, made_once, no_lessons):
    """The page as it is made, and ``exact``, the same with its weights in float32."""

    def make(folder) -> None:
        with pytest.MonkeyPatch.context() as patch:
            keep_exported(patch)
            files = static_files("mnist", links={"The full app": "https://example.org/app"})
            assert sum(map(len, files.values())) < MAX_BYTES
            write_space(files, folder / "page")
            write_space(files | {NETWORK: onnx_bytes(load_model("mnist"))}, folder / "exact")

    try:
        return made_once("static", make)
    except DDPMError as error:
        if os.environ.get("DDPM_REQUIRE_BROWSER"):
            raise
        pytest.skip(str(error))  # no npm


@pytest.fixture(scope="module")
def folder(pages):
    return pages / "page"


@pytest.fixture(scope="module")
def static_url(folder, tmp_path_factory):
    with plain_server(folder, tmp_path_factory.mktemp("server")) as url:
        yield url


@pytest.fixture(scope="module")
def exact_url(pages, tmp_path_factory):
    with plain_server(pages / "exact", tmp_path_factory.mktemp("server")) as url:
        yield url


def draw(page, url: str) -> np.ndarray:
    """The finished picture at an address, as numbers: (H, W) in 0..255."""
    page.goto(url)
    expect(page.locator("main")).to_have_attribute("data-state", "done", timeout=DONE)
    return pixels(page)


def pixels(page) -> np.ndarray:
    width, height, values = page.evaluate(
        "() => { const c = document.getElementById('x0');"
        " return [c.width, c.height, [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]] }"
    )
    return np.array(values, np.uint8).reshape(height, width, 4)[..., 0]


def cut(picture: np.ndarray, size: int = 32) -> torch.Tensor:
    """The images of a grid, in its order: (N, 1, H, W) in [-1, 1]."""
    each = size + 2  # with the line between two
    rows, columns = ((length + 2) // each for length in picture.shape)
    lined = np.pad(picture, (0, 2)).reshape(rows, each, columns, each)[:, :size, :, :size]
    images = lined.swapaxes(1, 2).reshape(-1, 1, size, size)
    return torch.from_numpy(images.copy()).float() / 127.5 - 1


def test_the_noise_is_the_librarys(page, static_url):
    page.goto(static_url)
    for seed, index, count in ((0, 0, 1024), (7, 15, 1024), (999_999_999, 3, 192), (12, 1, 100)):
        noise = ImageNoise(seed, [index], (count,))
        theirs = page.evaluate(
            "async ([seed, index, count]) => { const next = (await import('./noise.js')).noiseOf(seed, index);"
            " return [[...next(count)], [...next(count)]]; }",
            [seed, index, count],
        )
        for numbers in theirs:
            np.testing.assert_allclose(numbers, noise()[0], atol=2e-6)


@pytest.mark.parametrize("sampler", ["ddim", "dpmpp_2m"])
def test_the_pictures_are_the_librarys(page, exact_url, sampler):
    model = load_model("mnist")
    for seed in (0, 1, 2):
        theirs = draw(page, f"{exact_url}/?engine=wasm&count=4&steps=10&sampler={sampler}&seed={seed}")
        settings = sampling_settings(model.config, sampler=sampler, num_steps=10)
        ours = generate(model, 4, labels=range(10), settings=settings, seed=seed)
        assert ((cut(theirs) - ours) * 127.5).abs().max() <= 2


@pytest.fixture
def digits_url(pages, exported_digits, tmp_path, monkeypatch):
    """The address of the page of a smaller network than mnist's, its weights in float32."""
    monkeypatch.setattr("ddpm.deploy.static_page.onnx_bytes", lambda model, weights: exported_digits[weights])
    write_space(static_files("digits", weights="fp32"), tmp_path / "page")
    with plain_server(tmp_path / "page", tmp_path) as url:
        yield url


STROKES = "95:290,230;420,160;660,290;440,470;700,640;280,790"


def test_what_is_drawn_becomes_what_the_library_makes_of_it(page, digits_url):
    """Sketch, repair, blend, branch and inversion, from the same pixels and seeds."""
    model, seed, count, strength, labels = load_model("digits"), 3, 4, 0.6, [5]
    size, settings = model.config.data.image_size, sampling_settings(model.config, num_steps=7)
    ancestral = sampling_settings(model.config, num_steps=7, sampler="ddpm")
    page.goto(digits_url)

    def drawn(as_mask: bool) -> torch.Tensor:
        values = page.evaluate(
            "async ([strokes, size, mask]) =>"
            " [...(await import('./drawing.js')).pixelsOf(strokes, [1, size, size], mask)]",
            [STROKES, size, as_mask],
        )
        return torch.tensor(values).view(1, 1, size, size)

    def made(label: int, of: int) -> torch.Tensor:
        return generate(model, 1, labels=[label], settings=settings, seed=of)

    def last(steps) -> torch.Tensor:
        *_, step = steps
        return step.x0

    sketch, mask = drawn(False), drawn(True).bool()
    assert (sketch - sketch_of(read_strokes(STROKES), size)).abs().mean() < 0.05  # pens differ at their edges
    start = editing.start_of(model, strength, settings)
    *before, _ = sample(model, 1, labels=labels, settings=ancestral, seed=seed)
    root = next(step for step in before if step.t <= start)
    rest = ancestral.model_copy(update={"num_steps": len(before) - root.index})
    plain = editing.redrawing(settings)
    *_, inverted = editing.invert(model, sketch, settings=settings)
    shares = [k / (count - 1) for k in range(count)]
    asked = {"labels": labels, "settings": settings, "seed": seed}
    again = {"labels": labels, "settings": ancestral, "seed": seed + 1}
    whole = (count, -1, -1, -1)
    ours = {
        "sketch": editing.sketch(model, sketch.expand(whole), strength, **asked),
        "repair": editing.inpaint(model, made(5, seed).expand(whole), mask, repeats=4, **again),
        "blend": editing.blend(model, made(5, seed), made(5, seed + 1), shares, start, **asked),
        "branch": editing.branch(model, root.x_t, root.t, count, **again | {"settings": rest}),
        "invert": sample(model, count, labels=labels, settings=plain, noise=lambda: inverted.x_t.expand(whole)),
    }
    for name, steps in ours.items():
        link = f"draw_start={name}&draw_strength={strength}&draw_strokes={STROKES}"
        theirs = draw(page, f"{digits_url}/?engine=wasm&class=5&count={count}&steps=7&sampler=ddim&seed={seed}&{link}")
        assert page.locator("#notice").is_hidden()
        images = last(steps).clamp(-1, 1)
        assert ((cut(theirs, size) - images) * 127.5).abs().max() <= 2, name


def test_the_timesteps_are_the_librarys(page, static_url):
    page.goto(static_url)
    asked = [(total, steps, spacing) for spacing in SPACINGS for total, most in ((1000, 100), (301, 20), (7, 7))
             for steps in range(1, most + 1)]  # fmt: skip
    theirs = page.evaluate(
        "async (asked) => { const { spaced } = await import('./sampling.js');"
        " return asked.map((one) => spaced(...one)); }",
        asked,
    )
    assert theirs == [spaced_timesteps(*one) for one in asked]


def test_the_answer_follows_the_pen(page, digits_url):
    draw(page, f"{digits_url}/?count=1&steps=2&draw_start=sketch")
    before = pixels(page)
    canvas = page.locator(".drawing canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.2 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 0.8 * box["height"], steps=5)
    page.mouse.up()
    expect(page).to_have_url(re.compile("draw_strokes="))
    expect(page.locator("main")).to_have_attribute("data-state", "done", timeout=DONE)
    drawn, address = pixels(page), page.url
    assert not np.array_equal(drawn, before)
    page.get_by_role("button", name="Clear").click()
    expect(page).to_have_url(re.compile("draw_strokes=0$"))
    expect(page.locator("main")).to_have_attribute("data-state", "done", timeout=DONE)
    assert abs(draw(page, address).astype(int) - drawn).max() <= 1
    page.get_by_role("radio", name="noise").check()
    expect(canvas).to_be_hidden()
    assert "draw_" not in page.url


def test_a_graphics_card_draws_the_same(browser, chromium, digits_url):
    """WebGPU, on a card in software, which takes its time and which the page does not choose by itself."""
    model = load_model("digits")
    with browser.browser_type.launch(executable_path=chromium, args=SOFTWARE_WEBGPU) as with_webgpu:
        page = with_webgpu.new_page()
        theirs = draw(page, f"{digits_url}/?engine=webgpu&count=1&steps=2&guidance=1")
        expect(page.locator("#status")).to_contain_text("WebGPU.")
        draw(page, f"{digits_url}/?count=1&steps=2")
        expect(page.locator("#status")).to_contain_text("WebAssembly")
    settings = sampling_settings(model.config, num_steps=2, guidance_scale=1.0)
    ours = generate(model, 1, labels=range(10), settings=settings, seed=0)
    assert ((cut(theirs, model.config.data.image_size) - ours) * 127.5).abs().max() <= 2


def test_a_distilled_model_draws_the_same_and_its_slider_keeps_to_its_steps(page, random_model, tmp_path):
    model = random_model(**DISTILLED)
    folder = model.save(tmp_path / "student").parent
    write_space(static_files(str(folder), weights="fp32"), tmp_path / "page")
    with plain_server(tmp_path / "page", tmp_path) as url:
        for steps in DISTILLED["model__step_counts"]:
            theirs = draw(page, f"{url}/?engine=wasm&count=4&steps={steps}&seed=1")
            settings = model.config.sampling.model_copy(update={"num_steps": steps})
            ours = generate(model, 4, labels=range(10), settings=settings, seed=1)
            assert ((cut(theirs, 8) - ours) * 127.5).abs().max() <= 2
        page.goto(f"{url}/?engine=wasm&steps=3")
        expect(page.locator("#notice")).to_contain_text("The link asks for steps=3; right would be 1, 2, 4.")
        expect(page.locator("#guiding")).to_be_hidden()
        page.locator("#steps").fill("3")  # the hand lets go between 2 and 4
        expect(page.locator("#steps_text")).to_have_text("2")
        expect(page.locator("#steps")).to_have_js_property("value", "2")


def test_models_are_chosen_by_name_and_a_picture_follows_the_hand(
    page, random_model, exported_digits, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        "ddpm.deploy.static_page.onnx_bytes",
        lambda model, weights: (
            exported_digits[weights] if model.config.name == "digits" else onnx_bytes(model, weights)
        ),
    )
    student = random_model(name="student", **DISTILLED)
    folder = student.save(tmp_path / "student").parent
    write_space(static_files("digits", str(folder), weights="fp32"), tmp_path / "page")
    with plain_server(tmp_path / "page", tmp_path) as url:
        draw(page, f"{url}/?engine=wasm&count=4&seed=1&steps=7&class=3")
        page.get_by_role("radio", name="student").check()
        expect(page.locator("main")).to_have_attribute("data-state", "done", timeout=DONE)
        assert "play_model=student&play_draw=3&play_count=4&play_seed=1&play_steps=4" in page.url
        for steps in (2, 1):  # the slider moves, and is not let go
            page.locator("#steps").evaluate(
                "(slider, to) => { slider.value = to; slider.dispatchEvent(new Event('input', { bubbles: true })); }",
                steps,
            )
            settings = student.config.sampling.model_copy(update={"num_steps": steps})
            ours = ((generate(student, 4, labels=[3], settings=settings, seed=1) + 1) * 127.5).clamp(0, 255)
            wait_until(page, lambda ours=ours: ((cut(pixels(page), 8) + 1) * 127.5 - ours).abs().max() <= 2)
            assert f"play_steps={steps}" in page.url
        page.locator("#steps").dispatch_event("change")
        page.go_back()
        expect(page.locator("#steps_text")).to_have_text("4")  # the whole of the drag is one step back
        page.go_back()
        expect(page.get_by_role("radio", name="digits")).to_be_checked()
        expect(page.locator("#steps_text")).to_have_text("7")
        expect(page.locator("main")).to_have_attribute("data-state", "done", timeout=DONE)
        draw(page, f"{url}/?play_model=owl&play_steps=2&count=1")
        expect(page.locator("#notice")).to_contain_text("play_model=owl; right would be digits, student.")


def test_the_digits_are_those_that_were_asked_for(page, static_url):
    right = total = 0
    for seed in range(ROUNDS):
        images = cut(draw(page, f"{static_url}/?count=16&steps=20&seed={seed}"))
        right += (classify(images).argmax(1) == torch.arange(16) % 10).sum().item()
        total += len(images)
        print(f"{right} of {total}; {page.locator('#status').inner_text()}")
    assert right >= 0.98 * total or total - right <= 1


def test_frames_are_stepped_through_and_the_picture_is_downloaded(page, static_url):
    last = draw(page, f"{static_url}/?class=3&count=1&steps=5")
    frame, text = page.locator("#frame"), page.locator("#frame_text")
    expect(text).to_have_text("5 of 5: image")
    frame.focus()
    page.keyboard.press("Home")
    expect(text).to_have_text("0 of 5: t = 999")
    assert not np.array_equal(pixels(page), last)
    expect(page.locator("circle.visited")).to_have_count(1)
    page.keyboard.press("End")
    assert np.array_equal(pixels(page), last)
    expect(page.locator("circle.visited")).to_have_count(5)
    page.get_by_role("button", name="Play").click()
    expect(page.locator("#play")).to_have_text("Play")  # it says Pause until the last frame
    expect(text).to_have_text("5 of 5: image")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download PNG").click()
    picture = Image.open(io.BytesIO(download.value.path().read_bytes())).convert("L")
    assert download.value.suggested_filename == "mnist_3_1x_seed0_ddim5_guidance1.4.png"
    assert np.array_equal(np.array(picture)[::8, ::8], last)


def test_the_address_is_the_picture(page, static_url):
    first = draw(page, f"{static_url}/?class=7&count=1&steps=4&seed=11")
    page.keyboard.press("r")
    page.wait_for_function("!location.search.includes('seed=11')")
    expect(page.locator("main")).to_have_attribute("data-state", "done", timeout=DONE)
    rolled, address = pixels(page), page.url
    assert not np.array_equal(rolled, first)
    page.get_by_role("radio", name="DPM-Solver++").check()
    page.wait_for_function("location.search.includes('DPM-Solver')")
    expect(page.locator("main")).to_have_attribute("data-state", "done", timeout=DONE)
    # The first visit has one thread, the next one two, which add in another order: a level may round differently.
    assert abs(draw(page, address).astype(int) - rolled).max() <= 1
    assert page.locator("#notice").is_hidden()


def test_the_guidance_interval_is_the_librarys_and_its_ends_take_each_other_along(page, exact_url):
    model = load_model("mnist")
    theirs = draw(page, f"{exact_url}/?engine=wasm&count=4&steps=10&guidance=4&play_interval=0&play_interval=999")
    settings = sampling_settings(model.config, num_steps=10, guidance_scale=4.0, guidance_interval=[0, 999])
    ours = generate(model, 4, labels=range(10), settings=settings, seed=0)
    assert ((cut(theirs) - ours) * 127.5).abs().max() <= 2
    page.locator("#to").fill("300")
    expect(page.locator("#to_text")).to_have_text("300")
    page.locator("#from").fill("500")
    expect(page.locator("#to_text")).to_have_text("500")
    page.wait_for_function("location.search.includes('play_interval=500&play_interval=500')")


def test_a_link_of_the_page_asks_the_app_for_the_same(page, static_url, open_page):
    link = "play_draw=7&play_count=3&play_seed=5&play_sampler=DPM-Solver%2B%2B&play_steps=4&play_guidance=2.5"
    drawn = draw(page, f"{static_url}/?{link}&play_interval=100&play_interval=700")
    assert page.locator("#notice").is_hidden()
    app = open_page("pages/playground.py", **parse_qs(page.url.partition("?")[2]))
    request = app.session_state.play_shown.request
    settings = request.settings
    assert (request.labels, request.count, request.seed) == ((7,), 3, 5)
    assert (settings.sampler, settings.num_steps, settings.guidance_scale) == ("dpmpp_2m", 4, 2.5)
    assert settings.guidance_interval == (100, 700)
    ours = generate(load_model("mnist"), 3, labels=[7], settings=settings, seed=5)
    assert ((cut(drawn)[:3] - ours) * 127.5).abs().mean() < 2  # the page's weights are rounded


def test_drawing_can_be_stopped_and_the_frames_that_came_stay(page, static_url):
    page.goto(f"{static_url}/?count=16&steps=100")
    expect(page.locator("#status")).to_contain_text("of 100, about", timeout=DONE)
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("main")).to_have_attribute("data-state", "stopped")
    expect(page.locator("#status")).to_contain_text("of 100 steps.")
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()
    last = page.locator("#frame").get_attribute("max")
    page.get_by_role("radio", name="7", exact=True).check()
    expect(page.locator("#status")).to_contain_text("of 100, about")
    assert int(last) < 100


def test_back_and_forward_go_through_what_was_chosen(page, static_url):
    first = draw(page, f"{static_url}/?class=1&count=1&steps=2")
    page.get_by_role("radio", name="8", exact=True).check()
    expect(page.locator("main")).to_have_attribute("data-state", "done", timeout=DONE)
    assert "play_draw=8" in page.url
    page.go_back()
    expect(page.get_by_role("radio", name="1", exact=True).first).to_be_checked()
    expect(page.locator("main")).to_have_attribute("data-state", "done", timeout=DONE)
    assert np.array_equal(pixels(page), first)
    page.go_forward()
    expect(page.get_by_role("radio", name="8", exact=True)).to_be_checked()


def test_the_keyboard_keeps_its_place_while_a_picture_is_drawn(page, static_url):
    draw(page, f"{static_url}/?count=4&steps=20")
    page.locator("#frame").focus()
    page.keyboard.press("r")
    expect(page.locator("main")).to_have_attribute("data-state", "busy")
    expect(page.locator("main")).to_have_attribute("data-state", "done", timeout=DONE)
    expect(page.locator("#frame")).to_be_focused()


def test_what_is_chosen_while_the_model_is_loaded_is_what_is_drawn(page, static_url):
    loading = []
    page.route("**/model.onnx", lambda route: loading.append(route))
    page.goto(f"{static_url}/?count=1&steps=2")
    page.get_by_role("radio", name="7", exact=True).check()
    wait_until(page, lambda: loading)
    loading[0].continue_()
    expect(page.locator("main")).to_have_attribute("data-state", "done", timeout=DONE)
    assert "play_draw=7" in page.url
    assert np.array_equal(pixels(page), draw(page, page.url))


@pytest.mark.parametrize("missing", ["model.json", "model.onnx"])
def test_a_file_that_cannot_be_had_is_named(browser, static_url, missing):
    with browser.new_context() as context:
        page = context.new_page()
        page.route(f"**/{missing}", lambda route: route.abort())
        page.goto(static_url)
        expect(page.locator("#notice")).to_contain_text(f"{missing} could not be loaded")
        expect(page.locator("#status")).to_have_text("This did not work.")
        expect(page.locator(".card").first).to_be_hidden()


def test_what_a_link_may_not_ask_for_is_told(page, static_url):
    draw(page, f"{static_url}/?steps=5000&class=owl&count=1")
    notice = page.locator("#notice")
    expect(notice).to_contain_text("The link asks for steps=5000; right would be 1 to 100.")
    expect(notice).to_contain_text("class=owl; right would be all, 0, 1")
    page.locator("#seed").fill("-3")
    page.locator("#seed").press("Enter")
    expect(notice).to_have_text("seed is 0 to 999999999, not -3.")


@pytest.mark.parametrize("more", ["", " and more" * 20], ids=["chips", "list"])
def test_classes_go_by_their_names_and_links_by_number_still_work(page, static_url, folder, tmp_path, more):
    """The digits under other names: a few short ones lie open, more are in a list."""
    names = ["zero", 'one"><b>', "2", "all", "four", "five", "six", "seven", "eight", f"a nine{more}"]
    shutil.copytree(folder, tmp_path / "page")
    about = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    about["models"][0]["classNames"] = names
    (tmp_path / "page" / "model.json").write_text(json.dumps(about), encoding="utf-8")
    (tmp_path / "server").mkdir()
    with plain_server(tmp_path / "page", tmp_path / "server") as url:
        by_number = draw(page, f"{url}/?class=1&count=1&steps=2")
        assert "play_draw=one" in page.url
        assert np.array_equal(draw(page, page.url), by_number)
        if more:
            choices = page.get_by_role("combobox", name="Class").locator("option").all_text_contents()
            page.get_by_role("combobox", name="Class").select_option("seven")
        else:
            choices = page.locator("#classes .chips label").all_text_contents()
            page.get_by_role("radio", name="seven").check()
        assert choices == ["all", *names[:3], "“all”", *names[4:], "any"]
        page.wait_for_function("location.search.includes('play_draw=seven')")
        expect(page.locator("main")).to_have_attribute("data-state", "done", timeout=DONE)
        seven = pixels(page)
    assert np.array_equal(draw(page, f"{static_url}/?class=7&count=1&steps=2"), seven)


def test_once_loaded_it_needs_no_server_and_has_threads(page, folder, tmp_path):
    with plain_server(folder, tmp_path) as url:
        draw(page, f"{url}/?count=1&steps=3")
        expect(page.locator("main")).to_have_attribute("data-offline", "ready", timeout=DONE)
    draw(page, f"{url}/?count=1&steps=3&seed=4")
    assert page.evaluate("crossOriginIsolated")
    draw(page, f"{url}/index.html?count=1&steps=3")


def test_two_versions_on_one_server_keep_their_offline_copies(page, folder, tmp_path):
    """One lies inside the folder of the other; a copy from when its name was its version alone goes with its page."""
    shutil.copytree(folder, tmp_path / "site")
    shutil.copytree(folder, tmp_path / "site" / "newer")
    version = json.loads((folder / "model.json").read_text(encoding="utf-8"))["version"]
    for name in ("model.json", "sw.js"):
        path = tmp_path / "site" / "newer" / name
        path.write_text(path.read_text(encoding="utf-8").replace(version, f"ddpm-lab-{'f' * 16}"), encoding="utf-8")
    (tmp_path / "server").mkdir()
    with plain_server(tmp_path / "site", tmp_path / "server") as url:
        for path in ("newer/", ""):
            draw(page, f"{url}/{path}?count=1&steps=2")
            expect(page.locator("main")).to_have_attribute("data-offline", "ready", timeout=DONE)
            if path:
                put = "async ([name, held]) => (await caches.open(name)).put(held, new Response('{}'))"
                for held in (["ddpm-lab-0", "/model.json"], ["ddpm-lab-1", "/elsewhere/model.json"]):
                    page.evaluate(put, held)
        page.wait_for_function("async () => !(await caches.keys()).includes('ddpm-lab-0')")
        kept = set(page.evaluate("caches.keys()"))
    assert kept == {f"{version} {url}/", f"ddpm-lab-{'f' * 16} {url}/newer/", "ddpm-lab-1"}
    for path in ("", "newer/"):
        draw(page, f"{url}/{path}?count=1&steps=2&seed=4")


def test_it_is_accessible_and_fits_a_phone(page, static_url):
    draw(page, f"{static_url}/?count=1&steps=3")
    page.get_by_text("What am I looking at?").click()
    assert not (found := axe_findings(page)), "\n".join(found)
    page.set_viewport_size(PHONE)
    page.wait_for_function("document.documentElement.scrollWidth <= innerWidth")
