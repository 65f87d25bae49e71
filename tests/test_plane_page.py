"""The Plane page without a browser: what it sends is what the library computes."""

import base64
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ddpm.plane import PRESET, Mixture, sliced_wasserstein, walk
from ddpm.samplers import SAMPLERS
from ddpm.schedule import make_schedule
from ddpm.spacing import spaced_timesteps
from pages.components import plane
from pages.components.plane_questions import QUESTIONS

pytestmark = pytest.mark.slow


@pytest.fixture
def shown(open_page, monkeypatch):
    """Opens the page; returns the app, and the views that were sent to the browser."""

    def open_plane(looks="", **link):
        sent = []

        def draw(data, **_):
            sent.append(data)
            return SimpleNamespace(look=looks)

        monkeypatch.setattr(plane, "_plane", draw)
        app = open_page("pages/plane.py", **link)
        assert not app.exception
        app.sent = sent
        return app, sent[0]["views"] if sent else []

    return open_plane


def floats(text: str, *shape: int) -> torch.Tensor:
    return torch.from_numpy(np.frombuffer(base64.b64decode(text), np.float32).copy()).view(*shape)


def test_a_walk_begins_as_noise_and_ends_at_the_data(shown):
    _, (fifty, five) = shown()
    assert (len(fifty["times"]), len(five["times"])) == (51, 6)
    states = floats(fifty["particles"], 51, plane.PARTICLES, 2)
    assert abs(states[0].std().item() - 1) < 0.05
    fresh = PRESET.sample(plane.PARTICLES, 5).x
    assert sliced_wasserstein(states[-1], fresh) < 0.1 < sliced_wasserstein(states[0], fresh)
    density = np.frombuffer(base64.b64decode(fifty["density"]), np.uint8).reshape(51, plane.DENSITY, plane.DENSITY)
    assert density.max() == 200
    row, column = np.unravel_index(density[-1].argmax(), density[-1].shape)
    cell = 2 * plane.EXTENT / plane.DENSITY
    peak = torch.tensor([(column + 0.5) * cell - plane.EXTENT, plane.EXTENT - (row + 0.5) * cell], dtype=torch.float32)
    assert torch.cdist(peak[None], PRESET.means).min() < 0.15


def test_the_field_is_what_the_exact_denoiser_says(shown):
    _, (fifty, _) = shown(plane_arrows="score")
    assert fifty["shows"] == "score"
    field = floats(fifty["field"], 50, plane.FIELD**2, 2)
    step = 2 * plane.EXTENT / plane.FIELD
    first = torch.tensor([[-plane.EXTENT + step / 2, -plane.EXTENT + step / 2]])
    expected = PRESET.denoiser(make_schedule("linear", plane.T))(first[:, :, None, None], 999).x0.flatten(1)
    torch.testing.assert_close(field[0, :1], expected)


def test_few_steps_of_the_flow_are_named_and_worse_than_many(shown):
    _, views = shown(plane_walks=["DDIM, 1 step, rectified flow", "DDIM, 50 steps, rectified flow"])
    far, near = (float(view["title"].rsplit(" ", 1)[1]) for view in views)
    assert far > 3 * near


def test_guidance_shows_its_distance_and_is_least_at_one(shown):
    app, _ = shown(plane_class="1", plane_guidance="3.0")
    assert app.slider(key="plane_guidance").value == 3
    distances = dict(zip(plane.SCALES, plane.distances_over_guidance("mixture", 1, plane.ALWAYS), strict=True))
    assert min(distances, key=distances.get) == 1
    assert distances[6.0] > distances[1.0] + 0.05


@pytest.mark.parametrize("interval", [plane.ALWAYS, (200, 600)])
def test_the_curve_of_guidance_is_that_of_numerical_integration(interval):
    """The law of the noise on a fine grid of its quantiles, and that of the class, in place of points."""
    side, label = 80, 1
    quantiles = torch.erfinv((torch.arange(side, dtype=torch.float64) + 0.5) / side * 2 - 1) * 2**0.5
    grid = torch.cartesian_prod(quantiles, quantiles)
    part = PRESET.of_class(label)
    data = torch.cat([mean + PRESET.deviation * grid for mean in part.means.double()])
    schedule = make_schedule("linear", plane.T)
    exact = Mixture(PRESET.means.double(), PRESET.deviation, PRESET.weights.double(), PRESET.labels)
    timesteps, found = spaced_timesteps(plane.T, 50), plane.distances_over_guidance("mixture", label, interval)
    for scale, distance in zip(plane.SCALES, found, strict=True):
        denoise = exact.denoiser(schedule, label, scale, interval)
        *_, end = walk(SAMPLERS["ddim"].function, denoise, schedule, timesteps, 0, first=grid[:, :, None, None])
        integral = sliced_wasserstein(end.x0.flatten(1).repeat(len(part.means), 1), data)
        assert distance == pytest.approx(integral, rel=0.02, abs=0.004)


def test_after_reflow_one_step_is_enough(shown):
    _, views = shown(plane_walks="DDIM, 1 step, rectified flow", plane_reflow="true")
    before, one = (float(view["title"].rsplit(" ", 1)[1]) for view in views)
    assert one < before / 3


def test_all_samplers_are_measured(shown):
    app, _ = shown(plane_table="true")
    table = app.table[0].value.set_index("sampler")
    assert [*table.index] == [*(sampler.label for sampler in SAMPLERS.values()), "fresh data"]
    values = table.astype(float)
    assert (values["5 steps"] > values["50 steps"]).iloc[:-1].all()
    assert (values["50 steps"] >= values["50 steps"]["fresh data"] * 0.5).all()


def test_a_network_learns_here(shown):
    _, views = shown(plane_learn="true", plane_steps="100", plane_count="100")
    assert views[-1]["title"].startswith("learned from 100 points in 100 steps, DDIM, 50 steps: distance")


@pytest.mark.parametrize("data", ["moons", "letters"])
def test_curves_are_drawn_too(shown, data):
    _, views = shown(plane_data=data)
    assert float(views[0]["title"].rsplit(" ", 1)[1]) < 0.1


def test_no_walk_asks_for_one(shown):
    app, views = shown()
    app.multiselect(key="plane_walks").set_value([]).run()
    assert "Choose at least one walk." in app.info[0].value
    assert len(views) == 2


def test_points_that_one_draws_are_the_data(shown):
    line = "30:100,500;900,500|30:500,100;500,400"
    _, views = shown(plane_data="your own", plane_strokes=line)
    states = floats(views[0]["particles"], 51, plane.PARTICLES, 2)[-1]
    flat = states[:, 1].abs() < 0.2
    upright = (states[:, 0].abs() < 0.2) & (states[:, 1] > 0)
    assert (flat | upright).float().mean() > 0.97
    assert states[flat][:, 0].abs().max() == pytest.approx(0.8 * plane.REACH, abs=0.3)
    app, _ = shown(plane_data="your own", plane_strokes="30:100,500;900,500", plane_class="1")
    assert "There is no second class" in app.info[0].value
    empty, _ = shown(plane_data="your own", plane_strokes="0")
    assert "Draw something above." in empty.info[0].value


def test_a_question_sets_what_answers_it(shown):
    app, _ = shown()
    app.button_group(key="plane_question").set_value("What does guidance do?").run()
    assert not app.exception
    question = QUESTIONS["What does guidance do?"]
    assert app.slider(key="plane_guidance").value == question.guidance
    assert app.info[0].value == question.says
    assert [view["title"].split(":")[0] for view in app.sent[-1]["views"]] == list(question.walks)
    assert (app.sent[-1]["at"], app.sent[-1]["field"]) == (1, False)
    assert app.sent[-1]["id"] != app.sent[0]["id"]


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_link_to_a_question_is_enough(shown, name):
    app, views = shown(plane_question=name)
    question = QUESTIONS[name]
    assert [view["title"].split(":")[0] for view in views] == list(question.walks)
    assert (app.sent[0]["at"], app.sent[0]["field"]) == (question.at, question.arrows is not None)
    assert views[0]["shows"] == (question.arrows or "v")


def test_a_link_brings_back_the_moment_and_the_arrows(shown):
    app, _ = shown(looks="0.25,1", plane_look="0.625,1")
    assert (app.sent[0]["at"], app.sent[0]["field"]) == (0.625, True)
    assert app.query_params["plane_look"] == "0.25,1"  # where the visitor has moved it since
    for wrong in ("2,1", "0.5", "nan,0", "0.5,7"):
        app, _ = shown(plane_look=wrong)
        assert (app.sent[0]["at"], app.sent[0]["field"]) == (1, False)


def test_arrows_that_are_chosen_before_the_browser_has_drawn_are_still_new_to_it(shown):
    app, _ = shown()
    app.button_group(key="plane_arrows").set_value("eps").run()
    sent = app.sent[-1]
    assert (sent["id"], sent["arrows"], sent["views"][0]["shows"]) == (app.sent[0]["id"], "v", "eps")


def test_flow_matching_follows_the_curves_of_diffusion(shown):
    """What the page claims: from the same noise to the same points."""
    _, views = shown(plane_question="Is flow matching another model?")
    diffusion, flow = (floats(view["particles"], 51, plane.PARTICLES, 2) for view in views)
    torch.testing.assert_close(diffusion[0], flow[0])
    assert (diffusion[-1] - flow[-1]).norm(dim=1).median() < 0.05


def test_one_step_ends_at_the_mean_of_the_data(shown):
    _, views = shown(plane_walks="DDIM, 1 step")
    end = floats(views[0]["particles"], 2, plane.PARTICLES, 2)[-1]
    assert (end - PRESET.means.mean(0)).norm(dim=1).median() < 0.1
