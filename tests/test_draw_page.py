"""The Draw page without a browser: what its tools draw is what the library draws."""

import base64
import io
import shlex

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm import editing, load_model, sample
from ddpm.media.images import enlarge, make_grid, to_uint8
from ddpm.media.strokes import A_THREE, LOWER_HALF, draw_strokes, mask_of, read_strokes
from pages.components import decided
from pages.components.editing import TOOLS
from pages.components.editing.asked import settings_of
from tests.commands import check_command

pytestmark = pytest.mark.slow


@pytest.fixture
def draw(open_page):
    return lambda tool="Sketch", **link: open_page("pages/draw.py", draw_model="digits", draw_tool=tool, **link)


def pictures(app) -> list[np.ndarray]:
    sources = [image.url for group in app.get("image") for image in group.proto.imgs]
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2])))).astype(int)
            for source in sources]  # fmt: skip


def last(steps) -> torch.Tensor:
    *_, step = steps
    return to_uint8(step.x0)


def shown(app, images: torch.Tensor) -> None:
    """The last picture on the page holds these images."""
    expected = np.asarray(enlarge(make_grid(images, columns=2))).astype(int)
    assert np.abs(pictures(app)[-1] - expected).max() <= 2


@pytest.mark.parametrize("tool", TOOLS)
def test_every_tool_shows_something_at_once(draw, tool):
    app = draw(tool)
    assert not app.error
    assert pictures(app) or app.get("bidi_component")


def test_a_sketch_is_the_librarys(draw):
    model = load_model("digits")
    pixels = (draw_strokes(read_strokes(A_THREE), 8) * 2 - 1).expand(4, -1, -1, -1)
    app = draw(draw_strength="0.5", draw_class="3", draw_seed="7")
    shown(app, last(editing.sketch(model, pixels, 0.5, labels=[3], settings=settings_of(model), seed=7)))
    kept = draw(draw_strength="0.0")
    shown(kept, to_uint8(pixels))


def test_a_link_brings_strokes_and_what_is_none_is_named(draw):
    line = "200:100,500;900,500"
    pixels = (draw_strokes(read_strokes(line), 8) * 2 - 1).expand(4, -1, -1, -1)
    shown(draw(draw_strength="0.0", draw_strokes=line), to_uint8(pixels))
    empty = draw(draw_strokes="0", draw_strength="0.0")  # as after Clear
    assert not empty.error
    shown(empty, torch.zeros(4, 1, 8, 8, dtype=torch.uint8))
    app = draw(draw_strokes="scribble")
    assert "'scribble' is no stroke" in app.error[0].value


def test_a_repair_is_the_librarys_and_keeps_what_is_known(draw):
    model = load_model("digits")
    settings = settings_of(model)
    original = last(sample(model, 1, labels=[3], settings=settings, seed=0))
    app = draw("Repair", repair_repeats="2", repair_class="3", repair_seed="5")
    mask = mask_of(read_strokes(LOWER_HALF), 8)
    x0 = original.float() / 127.5 - 1
    made = last(
        editing.inpaint(model, x0.expand(4, -1, -1, -1), mask, repeats=2, labels=[3],
                        settings=settings_of(model, sampler="ddpm"), seed=5)
    )  # fmt: skip
    shown(app, made)
    assert torch.equal(made[..., ~mask[0, 0]], original.expand(4, -1, -1, -1)[..., ~mask[0, 0]])


def test_a_branch_can_be_followed(draw):
    app = draw("Branch", branch_t1="599", branch_follow1="2", branch_t2="299")
    assert not app.error
    assert app.select_slider(key="branch_t2").value == 299
    app.select_slider(key="branch_t1").set_value(199).run()  # below what was chosen for the second level
    assert not app.exception
    assert app.select_slider(key="branch_t2").value <= 199
    assert {key for key in ("branch_follow1", "branch_follow2") if key in app.session_state} == {
        "branch_follow1",
        "branch_follow2",
    }


def test_an_image_comes_back_from_its_noise(draw):
    app = draw("Invert", invert_class="3")
    (said,) = [caption.value for caption in app.caption if "There and back" in caption.value]
    assert float(said.split(": ")[1].split(" dB")[0]) > 25
    original, _, back, other = pictures(app)[-4:]
    assert np.abs(original - back).mean() < 8
    assert np.abs(original - other).mean() > 20


def test_a_public_page_refuses_what_takes_too_much(draw, monkeypatch):
    monkeypatch.setenv("DDPM_PUBLIC", "1")
    monkeypatch.setenv("DDPM_MAX_EVALUATIONS", "60")
    app = draw("Repair", repair_repeats="10", repair_seed="99")
    assert "this would take 400 network evaluations, and 60 are the most" in app.error[-1].value


@pytest.mark.parametrize(
    ("tool", "link", "written"),
    [
        ("Sketch", {"draw_class": "3", "draw_seed": "7"}, "sketch.png"),
        ("Repair", {"repair_repeats": "2"}, "repaired.png"),
        ("Blend", {"blend_class": "3"}, "blend.png"),
        ("Blend", {"blend_how": "by the noise that makes each"}, "blend.png"),
        ("Branch", {"branch_t1": "399", "branch_seed": "2"}, "branches.png"),
        ("Invert", {"invert_class": "3"}, "again.png"),
        ("Invert", {"invert_guidance": "3.0"}, "again.png"),
    ],
)
def test_the_python_of_a_tool_draws_what_it_shows(draw, tool, link, written, tmp_path, monkeypatch):
    app = draw(tool, **link)
    monkeypatch.chdir(tmp_path)
    (python,) = [code.value for code in app.code if "import ddpm" in code.value]
    exec(compile(python, tool, "exec"), {})
    drawn = np.asarray(Image.open(io.BytesIO((tmp_path / written).read_bytes()))).astype(int)
    shown = pictures(app)[-1]
    if tool == "Blend":  # of which the page shows every second image, and larger
        size = load_model("digits").config.data.image_size
        shown, drawn = (each[:: len(each) // (size + 4), :: len(each) // (size + 4)] for each in (shown, drawn))
        parts = np.split(drawn[:, 2:], range(size + 2, drawn.shape[1] - 2, size + 2), 1)
        drawn = np.concatenate([drawn[:, :2], *parts[::2]], 1)
    assert np.abs(shown - drawn).max() <= 2
    (command,) = [code.value for code in app.code if code.value.startswith("python -m ddpm edit")]
    check_command(command)


def test_the_command_of_a_sketch_draws_what_is_shown(draw, cli, tmp_path):
    app = draw(draw_class="3", draw_seed="7")
    (command,) = [code.value for code in app.code if code.value.startswith("python -m ddpm edit")]
    assert cli(*shlex.split(command)[3:]).code == 0
    drawn = np.asarray(Image.open(io.BytesIO((tmp_path / "sketch.png").read_bytes()))).astype(int)
    assert np.abs(pictures(app)[-1] - drawn).max() <= 2


def test_the_average_of_when_it_is_decided_is_of_the_shipped_model_and_is_shown(open_page):
    model = load_model("mnist")
    found = decided.average(model)
    assert found, "python -m pages.components.decided counts again"
    assert decided.average(load_model("digits")) is None
    assert found.times == sorted(found.times, reverse=True)
    assert found.times[0] == model.schedule.num_timesteps - 1
    assert found.none[0] < 0.3 * found.of  # at T - 1 a branch is another digit
    assert min(found.none[-1], found.given[-1]) > 0.98 * found.of
    assert min(found.given) > 0.9 * found.of  # where the class is given there is nothing to decide
    app = open_page("pages/draw.py", draw_tool="Branch")
    (chart,) = app.get("plotly_chart")
    assert f"{found.roots} roots, no class given" in chart.proto.spec


def test_the_average_counts_branches(monkeypatch, random_model):
    monkeypatch.setattr(decided, "ROOTS", 3)
    monkeypatch.setattr(decided, "PLACES", [0, 19])
    monkeypatch.setattr(decided, "read", lambda images: [7] * len(images))
    counted = decided.count(random_model(schedule__num_timesteps=1000))
    assert counted.given == counted.none == [counted.of] * 2
    assert (counted.of, counted.times) == (3 * decided.CHILDREN, [999, 49])
