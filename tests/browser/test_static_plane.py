"""The plane of the static page: its exact answer, walks and gradients are the library's, and it learns in a browser."""

import re
from urllib.parse import parse_qs, quote_plus

import numpy as np
import pytest
import torch
from playwright.sync_api import expect

from ddpm.deploy.plane_page import LEARNING, NETWORK, SCHEDULES, T
from ddpm.deploy.space import write_space
from ddpm.deploy.static_page import static_files
from ddpm.diffusion import diffusion_loss
from ddpm.plane import MLP, PRESET, Mixture, law_of, sample_data, sliced_wasserstein, train, walk
from ddpm.samplers import SAMPLERS
from ddpm.schedule import make_schedule
from ddpm.spacing import spaced_timesteps
from tests.browser.conftest import plain_server
from tests.browser.test_app import PHONE, axe_findings

TRAINED = 120_000  # milliseconds; it takes a few seconds, and longer where the processor has other work


@pytest.fixture(scope="module")
def folder(chromium, made_once):
    """The page with no runtime and no network of images, which the plane does without."""

    def make(folder) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("ddpm.deploy.static_page._runtime_files", lambda archive: {})
            patch.setattr("ddpm.deploy.static_page.onnx_bytes", lambda model, weights: b"none")
            patch.setattr("ddpm.deploy.static_page.lessons_json", lambda models: b"[]")
            write_space(static_files("digits"), folder)

    return made_once("static-plane", make)


@pytest.fixture(scope="module")
def url(folder, tmp_path_factory):
    with plain_server(folder, tmp_path_factory.mktemp("server")) as url:
        yield f"{url}/plane.html"


def ready(page, address: str) -> None:
    page.goto(address)
    expect(page.locator("main")).to_have_attribute("data-state", "done", timeout=TRAINED)


def flat(values) -> list[float]:
    return values.flatten().tolist()


@pytest.mark.parametrize("name", ["mixture", "spiral"])
def test_the_exact_answer_is_the_librarys(page, url, name):
    law, generator = law_of(name), torch.Generator().manual_seed(0)
    law = Mixture(law.means.double(), law.deviation, law.weights.double(), law.labels)
    x = torch.randn(50, 2, 1, 1, generator=generator, dtype=torch.float64)
    cases = [(schedule, t, label, scale) for schedule in SCHEDULES for t in (0, 150, 600, 999)
             for label, scale in ((None, 1.0), (1, 1.0), (0, 3.0))]  # fmt: skip
    sent = [[schedule, t, -1 if label is None else label, scale] for schedule, t, label, scale in cases]
    page.goto(url)
    theirs = page.evaluate(
        "async ([law, x, cases]) => { const { Law } = await import('./plane_exact.js');"
        " const { modelOf } = await import('./plane_walks.js');"
        " const plane = await (await fetch('plane.json')).json();"
        " return cases.map(([schedule, t, label, scale]) => {"
        "   const { x0, eps } = new Law(law).denoiser(modelOf(plane, schedule), label, scale)(Float64Array.from(x), t);"
        "   return [[...x0], [...eps]]; }); }",
        [{"means": flat(law.means), "deviation": law.deviation, "labels": law.labels.tolist()}, flat(x), sent],
    )
    for (schedule, t, label, scale), found in zip(cases, theirs, strict=True):
        ours = law.denoiser(make_schedule(schedule, T), label, scale)(x, t)
        s = (1 - make_schedule(schedule, T).alpha_bar(t)) ** 0.5  # by which eps has the errors of x0
        for expected, values, scaled in zip(ours, found, (1, s), strict=True):
            torch.testing.assert_close(
                torch.tensor(values) * scaled, expected.flatten().float() * scaled, rtol=1e-4, atol=1e-4
            )


@pytest.mark.parametrize("sampler", ["ddim", "dpmpp_2m", "ddpm"])
def test_a_walk_is_the_librarys_and_so_is_its_distance(page, url, sampler):
    steps, label, scale = 12, 1, 2.0
    asked = {
        "data": "mixture",
        "label": label,
        "guidance": scale,
        "sampler": sampler,
        "steps": steps,
        "schedule": "linear",
    }
    page.goto(url)
    states, distance = page.evaluate(
        "async (asked) => { const { walk } = await import('./plane_walks.js');"
        " const found = await walk(await (await fetch('plane.json')).json(), asked);"
        " return [[...found.particles], found.distance]; }",
        asked,
    )
    schedule, points = make_schedule("linear", T), sample_data("mixture", 1000)
    denoise = PRESET.denoiser(schedule, label, scale)
    ours = [step.x_t.flatten(1) for step in
            walk(SAMPLERS[sampler].function, denoise, schedule, spaced_timesteps(T, steps), 1000)]  # fmt: skip
    found = torch.tensor(states).view(steps + 1, 1000, 2)
    assert (found - torch.stack(ours)).abs().max() < 1e-3
    wanted = points.x[points.labels == label]
    nearly = sliced_wasserstein(ours[-1], wanted.repeat(1000 // len(wanted) + 1, 1)[:1000])
    assert distance == pytest.approx(nearly, abs=0.02)  # where there are fewer points, each stands for several


def test_the_gradient_is_autograds(page, url):
    torch.manual_seed(0)
    network, schedule = MLP(T, num_classes=2, **NETWORK), make_schedule("linear", T)
    x0, eps, t, y = torch.randn(50, 2, 1, 1), torch.randn(50, 2, 1, 1), torch.randint(T, (50,)), torch.randint(3, (50,))
    loss = diffusion_loss(schedule, network, x0, t, eps, y, prediction_type="v").mean()
    loss.backward()
    ours = torch.cat([parameter.grad.flatten() for parameter in network.parameters()])
    parameters = torch.cat([parameter.detach().flatten() for parameter in network.parameters()])
    page.goto(url)
    found, theirs = page.evaluate(
        "async ([parameters, x0, eps, t, y]) => { const { Network } = await import('./plane_network.js');"
        " const { lossOf } = await import('./plane_training.js');"
        " const { modelOf } = await import('./plane_walks.js');"
        " const plane = await (await fetch('plane.json')).json();"
        " const network = new Network(plane.network, 1000, Float32Array.from(parameters));"
        " const loss = lossOf(network, modelOf(plane, 'linear'), { x0, eps, t, y });"
        " return [loss, [...network.gradient]]; }",
        [flat(parameters), flat(x0), flat(eps), t.tolist(), y.tolist()],
    )
    assert found == pytest.approx(loss.item(), rel=1e-5)
    theirs = torch.tensor(theirs)
    assert (theirs - ours).norm() < 1e-4 * ours.norm()
    assert (theirs - ours).abs().max() < 1e-4 * ours.abs().max()


def test_it_learns_in_the_browser_what_the_library_learns(page, url):
    steps = 1500
    ready(page, f"{url}?plane_data=mixture&plane_learn=true&plane_steps={steps}")
    said = page.locator("#learned").inner_text()
    torch.manual_seed(0)
    network, points = MLP(T, num_classes=2, **NETWORK), sample_data("mixture", 1000)
    losses = list(train(network, points, make_schedule("linear", T), steps,
                        label_dropout=LEARNING["labelDropout"], learning_rate=LEARNING["learningRate"]))  # fmt: skip
    assert float(said.split()[1].strip(";")) == pytest.approx(np.mean(losses[-100:]), rel=0.15)
    exact, learned = page.locator(".views figcaption").all_inner_texts()
    distances = [float(re.search(r"distance to the data (\d\.\d+)", text)[1]) for text in (exact, learned)]
    assert distances[0] < 0.06
    assert distances[1] < 0.15
    assert learned.startswith("learned from 1,000 points in 1,500 steps")
    page.get_by_role("radio", name="10", exact=True).check()
    expect(page.locator("#learned")).to_contain_text("learned by heart", timeout=TRAINED)
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("figcaption")).to_have_count(1)
    expect(page.get_by_role("button", name="Train it here")).to_be_visible()


WALK = "DDIM, 5 steps, rectified flow"
LINK = f"plane_class=1&plane_guidance=2&plane_walks={quote_plus(WALK)}&plane_arrows=score"


def test_a_link_brings_it_back_and_the_app_understands_it(page, url, open_page):
    ready(page, f"{url}?{LINK}")
    for name in ("mixture", "1", "DDIM", "rectified flow", "score"):
        expect(page.get_by_role("radio", name=name, exact=True).first).to_be_checked()
    expect(page.locator("#steps_text")).to_have_text("5")
    expect(page.locator("#guidance_text")).to_have_text("2")
    assert page.locator("#notice").is_hidden()
    app = open_page("pages/plane.py", **parse_qs(page.url.partition("?")[2]))
    assert not app.exception
    names = ("plane_data", "plane_class", "plane_guidance", "plane_arrows", "plane_walks", "plane_learn")
    assert [app.session_state[name] for name in names] == ["mixture", "1", 2.0, "score", [WALK], False]
    page.locator("#steps").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#steps_text")).to_have_text("6")
    page.go_back()
    expect(page.locator("#steps_text")).to_have_text("5")
    page.get_by_role("radio", name="moons").check()
    assert "plane_data=moons" in page.url
    app = open_page("pages/plane.py", plane_walks=["DDIM, 6 steps"])  # which the app has not
    assert not app.exception
    ready(page, f"{url}?plane_data=owl&plane_walks=Heun%2C+5+steps")
    expect(page.locator("#notice")).to_contain_text(
        "plane_data=owl; right would be mixture, moons, ring, spiral, letters."
    )
    expect(page.locator("#notice")).to_contain_text("right would be a walk such as DDIM, 50 steps")


def test_it_is_accessible_fits_a_phone_goes_by_keyboard_and_needs_no_server(page, folder, tmp_path):
    with plain_server(folder, tmp_path) as url:
        ready(page, f"{url}/plane.html?plane_steps=500&plane_learn=true")
        expect(page.locator("main")).to_have_attribute("data-offline", "ready")
    page.reload()
    expect(page.locator("main")).to_have_attribute("data-state", "done", timeout=TRAINED)
    page.get_by_text("What am I looking at?").click()
    assert not (found := axe_findings(page)), "\n".join(found)
    page.locator(".slider").focus()
    page.keyboard.press("Home")
    expect(page.locator(".plane .caption")).to_have_text("noise alone")
    page.get_by_role("radio", name="all").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#guidance")).to_be_visible()
    assert "plane_class=0" in page.url
    page.set_viewport_size(PHONE)
    page.wait_for_function("document.documentElement.scrollWidth <= innerWidth")
    # Not followed: that page has files of its own, which a visitor of this one alone has not kept.
    expect(page.get_by_role("link", name="Images out of noise")).to_have_attribute("href", re.compile(r"^\./"))
