"""The pages without a browser: what they show where something is missing, and that their recipes tell the truth."""

import base64
import io
import os
import re
import shlex
import subprocess
import sys
from urllib.parse import parse_qs

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm.config import config_to_yaml, load_config, sampling_settings
from ddpm.files import RunFolder
from ddpm.jobs import Status, write_status
from ddpm.media.chart import PALETTE
from ddpm.media.images import enlarge, make_grid, to_uint8
from ddpm.models import load_model
from ddpm.samplers import Step
from ddpm.sampling import generate
from ddpm.storage.layouts import CONFIG, WEIGHTS
from ddpm.storage.weights import write_safetensors
from pages.components import drawn, live, walk
from pages.components.drawn import kept
from pages.components.frame import glossary
from pages.components.ladder import picture
from pages.components.sampling import Request, run
from tests.conftest import ROOT

PAGES = [
    "streamlit_app.py",
    "pages/playground.py",
    "pages/draw.py",
    "pages/ladder.py",
    "pages/lessons.py",
    "pages/museum.py",
    "pages/schedules.py",
    "pages/plane.py",
    "pages/train.py",
    "pages/curves.py",
    "pages/evaluate.py",
    "pages/share.py",
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "link", "left_out"),
    [
        ("pages/playground.py", "play_count=1&play_steps=abc&play_seed=`x`&play_guidance=99&play_sampler=Heun",
         "`play_steps=abc`, `` play_seed=`x` ``, `play_guidance=99`."),
        ("pages/schedules.py", "sched_over=foo&sched_t=7&sched_steps=20", "`sched_over=foo`, `sched_t=7`."),
        ("pages/playground.py", "play_count=1&play_steps=2&play_interval=0&play_interval=999", None),
        ("pages/schedules.py", "sched_over=log+SNR&sched_t=0.3&sched_spacing=leading&sched_seed=3", None),
    ],
)  # fmt: skip
def test_what_a_link_asks_for_in_vain_is_told(path, link, left_out, open_page):
    said = [toast.value for toast in open_page(path, **parse_qs(link)).toast]
    assert said == ([f"Left out of the link, since this page does not offer it: {left_out}"] if left_out else [])


@pytest.mark.slow
@pytest.mark.parametrize("path", PAGES)
def test_a_page_without_models_or_data_says_what_to_do(path, open_page, monkeypatch, tmp_path):
    monkeypatch.setattr("ddpm.storage.places.PRETRAINED", tmp_path)
    monkeypatch.setenv("DDPM_DATA_DIR", str(tmp_path))
    app = open_page(path)
    advice = {"pages/curves.py": "The Train page launches one", "pages/train.py": "The button above starts the first"}
    if path not in ("pages/schedules.py", "pages/plane.py", "pages/lessons.py", "pages/museum.py"):  # which need none
        assert advice.get(path, "--config configs/digits.yaml") in app.info[0].value


@pytest.mark.slow
def test_curves_show_a_finished_run(open_page, tiny_run):
    app = open_page("pages/curves.py")
    assert app.multiselect(key="curves_runs").options == ["tiny", "digits (shipped)", "mnist-fast (shipped)"]
    assert any("tiny" in text.value and "finished" in text.value for text in app.markdown)
    assert len(app.get("plotly_chart")) == 5


@pytest.mark.slow
def test_curves_of_a_run_that_has_just_begun_say_how_long_it_takes_and_when_samples_come(
    open_page, tiny_run, monkeypatch
):
    monkeypatch.setattr("ddpm.jobs.process_of", lambda status: status)  # as if it were alive
    running = Status(state="running", step=40, total_steps=3_124, images_per_second=9.0, eta=1_200.0)
    write_status(RunFolder(tiny_run), running)
    for grid in (tiny_run / "grids").glob("*"):
        grid.unlink()
    metrics = tiny_run / "logs" / "training_metrics.jsonl"
    metrics.write_text(metrics.read_text().splitlines()[0] + "\n")
    app = open_page("pages/curves.py", curves_runs="tiny")
    every = load_config(tiny_run / CONFIG).training.sample_every
    assert f"First samples at step {every:,}." in [caption.value for caption in app.caption]
    assert app.info[0].value == "The curves begin with the second record."
    assert not app.get("plotly_chart")
    assert "20.0 min left" in app.get("progress")[0].proto.text


@pytest.mark.slow
def test_curves_of_a_fresh_copy_are_those_of_the_shipped_model(open_page):
    app = open_page("pages/curves.py")
    assert app.multiselect(key="curves_runs").value == ["digits (shipped)"]
    assert len(app.get("plotly_chart")) == 5
    assert any("python -m ddpm train --config configs/digits.yaml" in text.value for text in app.markdown)
    assert "There is no run yet" in app.info[0].value


@pytest.mark.slow
def test_damaged_metrics_are_named_on_the_curves_page(open_page, tiny_run):
    metrics = tiny_run / "logs" / "training_metrics.jsonl"
    metrics.write_text("nonsense\n" + metrics.read_text())
    app = open_page("pages/curves.py")
    assert "line 1: not a record" in app.error[0].value


@pytest.mark.slow
@pytest.mark.parametrize(("classes", "drawn"), [(0, "no class"), (10, "the class dress")])
def test_home_draws_with_whatever_model_there_is(random_model, open_page, monkeypatch, tmp_path, classes, drawn):
    model = random_model(data={"dataset": "fashion_mnist", "image_size": 8}, model={"num_classes": classes})
    write_safetensors(model.network, tmp_path / "garments" / WEIGHTS)
    (tmp_path / "garments" / CONFIG).write_text(config_to_yaml(model.config))
    monkeypatch.setattr("ddpm.storage.places.PRETRAINED", tmp_path)
    app = open_page("streamlit_app.py")
    assert not app.error
    assert any(text.value.startswith(f"Asked for {drawn}. From") for text in app.caption)


@pytest.mark.slow
def test_a_damaged_model_is_named_on_the_page(open_page, tiny_run, monkeypatch, tmp_path):
    monkeypatch.setattr("ddpm.storage.places.PRETRAINED", tmp_path)
    (tiny_run / "ckpts" / "ema.pt").write_bytes(b"not a checkpoint")
    app = open_page("pages/playground.py")
    assert "ema.pt is damaged" in app.error[0].value


@pytest.mark.slow
def test_a_model_whose_run_was_stopped_is_said_to_be_unfinished(open_page, tiny_run):
    write_status(RunFolder(tiny_run), Status(state="stopped", step=429, total_steps=3_124))
    app = open_page("pages/playground.py", play_model="run:tiny", play_steps="2")
    said = r"run\:tiny is stopped at step 429 of 3,124, so its pictures may still be noisy; **Resume** on Train goes on"
    assert any(said in caption.value for caption in app.caption)


@pytest.mark.slow
def test_the_recipes_draw_the_same_picture(random_model, tiny_run, tmp_path, warm):
    from ddpm.models import load_model

    model = load_model("run:tiny")
    settings = model.config.sampling.model_copy(update={"eta": 0.5, "guidance_interval": (2, 12)})
    request = Request("run:tiny", 6, (3, 4), settings, 7, rolled=((1, 2),))
    assert request.indices == [0, 129, 2, 3, 4, 5]  # the same class, beyond all that can be asked for
    shown = np.asarray(enlarge(make_grid(run(request, model).trajectory.images)))

    command = [sys.executable if word == "python" else word for word in shlex.split(request.command_line(model))]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert np.abs(np.asarray(Image.open(tmp_path / "digits.png")).astype(int) - shown).max() <= 2

    subprocess.run(
        [sys.executable, "-c", request.python(model)], cwd=tmp_path, env=environment, check=True, timeout=120
    )
    assert np.abs(np.asarray(Image.open(tmp_path / "digits.png")).astype(int) - shown).max() <= 2


def test_a_page_explains_its_words_as_the_glossary_does(open_page):
    text = (ROOT / "docs" / "glossary.md").read_text()
    assert len(glossary()) == text.count('<a id="')
    assert glossary()["beta"] == "**beta** (β_t): the variance of the noise that forward step t adds."
    (words,) = (text.value for text in open_page("pages/schedules.py").markdown if "Words on this page" in text.value)
    assert f"- {glossary()['beta']}" in words


def test_figures_and_theme_use_one_palette():
    import tomllib

    theme = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())["theme"]
    assert tuple(theme["chartCategoricalColors"][: len(PALETTE)]) == PALETTE


@pytest.mark.slow
def test_the_ladder_fills_and_names_the_closest(open_page, tiny_run):
    from ddpm.models import load_model

    app = open_page("pages/ladder.py", ladder_model="run:tiny", ladder_most="10 steps")
    assert not app.exception
    assert "draws one image in 21 ways" in app.info[0].value
    app.button(key="ladder_go").click().run()
    assert not app.exception
    assert not app.info
    ladder = app.session_state.ladder
    assert ladder.complete
    assert app.code[0].value == ladder.command_line(load_model("run:tiny"))
    assert "--steps 1,2,3,5,10,20" in ladder.command_line(load_model("run:tiny"))
    (table,) = (html.value for html in app.html if 'class="ladder" ' in html.value)
    cells = [cell for cell in re.findall(r'alt="([^"]*)"', table) if cell.startswith("DDPM")]
    assert cells
    assert all(cell.endswith("another image") for cell in cells)  # decibels stood here, as if they were a fault
    with Image.open(io.BytesIO(picture(ladder))) as drawn:
        assert drawn.size == (96 * 7, 4 * 116 + 20)
    app.number_input(key="ladder_seed").set_value(3).run()
    assert "You've changed the settings" in app.info[0].value


@pytest.mark.slow
def test_the_ladder_of_a_model_with_few_timesteps_has_its_rungs(open_page, random_model, monkeypatch):
    few = random_model(schedule__num_timesteps=4, sampling__num_steps=2)
    monkeypatch.setattr("pages.components.models.cached_model", lambda reference: few)
    app = open_page("pages/ladder.py")
    assert not app.exception
    app.button(key="ladder_go").click().run()
    assert not app.exception
    assert {rung.num_steps for rung in app.session_state.ladder.climbed} == {1, 2, 3, 4}


@pytest.mark.slow
def test_the_player_shows_the_frames_of_its_own_result(random_model):
    model, result = random_model(), None
    for seed in range(12):  # each takes the place of the one before, whose memory the next one may get
        result = run(Request("x", 2, None, model.config.sampling, seed), model)
        for index, frame in enumerate(result.frames["frames"]):
            shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(frame["x_t"]))))
            assert np.array_equal(shown, np.asarray(make_grid(result.trajectory.x_t[index])))


@pytest.mark.slow
def test_no_stop_button_outlives_a_picture_that_comes_at_once(open_page):
    # Streamlit may send only the last of several messages to one place: what is emptied and filled at once never is
    # empty in the browser, and what stood beside the new content stays for ever.
    at = open_page("pages/playground.py", play_model="digits", play_count="4", play_steps="5")
    assert "Stop" not in [button.label for button in at.button]


@pytest.mark.slow
def test_a_quick_picture_follows_the_controls_and_a_slow_one_waits_for_a_click(open_page, monkeypatch):
    monkeypatch.setattr(live, "expected_seconds", lambda kind, work: 0.01 * work)
    app = open_page("pages/playground.py", play_model="digits", play_count="1", play_steps="5")
    first = app.session_state.play_shown
    assert [button.key for button in app.button if button.key == "play_generate"] == []
    app.select_slider(key="play_steps").set_value(8).run()
    assert app.session_state.play_shown.request.settings.num_steps == 8  # 0.16 s with guidance
    app.select_slider(key="play_steps").set_value(50).run()
    assert app.session_state.play_shown.request.settings.num_steps == 8
    assert "redraw: about 1.0 s here" in app.info[0].value
    app.button(key="play_generate").click().run()
    assert app.session_state.play_shown.request.settings.num_steps == 50
    for steps in (5, 50):  # drawn before: at once
        app.select_slider(key="play_steps").set_value(steps).run()
        assert app.session_state.play_shown.request.settings.num_steps == steps
    app.toggle(key="play_live").set_value(False).run()
    app.select_slider(key="play_steps").set_value(5).run()
    assert app.session_state.play_shown != first
    assert "You've changed the settings" in app.info[0].value
    monkeypatch.setattr(live, "expected_seconds", lambda kind, work: None)  # of a model that has drawn nothing yet
    app.toggle(key="play_live").set_value(True).run()
    app.select_slider(key="play_steps").set_value(10).run()
    assert app.info[0].value.endswith("to redraw.")


@pytest.mark.slow
def test_guidance_is_shown_at_five_scales_within_the_models_interval_and_at_all_timesteps(open_page, monkeypatch):
    app = open_page("pages/playground.py", play_model="digits", play_steps="2", play_count="1", play_scales="true")
    (table,) = (html.value for html in app.html if 'class="ladder guidance"' in html.value)
    assert re.findall(r'alt="([^"]*)"', table) == [f"t = 0 to 999, w = {w:g}" for w in (0, 1, 1.5, 3, 6)]
    model = load_model("digits")
    drawn = generate(model, 1, labels=[0], settings=sampling_settings(model.config, num_steps=20, guidance_scale=3.0))
    png = base64.b64decode(re.findall(r"base64,([^\"]*)", table)[3])
    shown = np.asarray(Image.open(io.BytesIO(png))).astype(int)
    assert np.abs(shown - to_uint8(drawn)[0, 0].numpy()).max() <= 2
    monkeypatch.setenv("DDPM_PUBLIC", "1")
    monkeypatch.setenv("DDPM_MAX_EVALUATIONS", "100")
    refused = open_page("pages/playground.py", play_model="digits", play_steps="2", play_count="1", play_seed="9",
                        play_scales="true")  # fmt: skip
    assert "this comparison" in refused.error[-1].value


@pytest.mark.slow
def test_a_walk_leads_from_the_image_that_is_shown_to_that_of_another_seed_and_class(open_page):
    link = {"play_model": "digits", "play_steps": "2", "play_count": "1", "play_draw": "3", "play_walk": "true"}
    app = open_page("pages/playground.py", **link, play_to="7", play_to_seed="5")
    assert not app.error
    assert app.selectbox(key="play_to").value == "7"
    model = load_model("digits")
    settings = app.session_state.play_shown.request.settings
    (frames,) = kept(*walk.key_of(model, settings, (0, 5), (3, 7)))
    assert len(frames) == walk.FRAMES
    for place, seed, label in ((0, 0, 3), (-1, 5, 7)):
        drawn = to_uint8(generate(model, 1, labels=[label], settings=settings, seed=seed))[0]
        assert (frames[place].int() - drawn.int()).abs().max() <= 2
    unconditional = open_page("pages/playground.py", **link | {"play_draw": "no class"})
    assert not unconditional.error
    assert "play_to" not in {box.key for box in unconditional.selectbox}


@pytest.mark.slow
def test_a_strip_that_was_left_in_the_midst_is_drawn_whole_the_next_time(monkeypatch):
    """Rows were stored one by one: the next visitor met an error about their number."""
    store = []
    monkeypatch.setattr(drawn, "kept", lambda *key: store)

    def walks(fail: bool):
        def one():
            yield Step(0, -1, torch.zeros(1), torch.zeros(1, 1, 2, 2), torch.zeros(1))
            if fail:
                raise KeyboardInterrupt

        return one

    model = load_model("digits")
    with pytest.raises(KeyboardInterrupt):
        drawn.drawn_once(("x",), model, 1, [walks(False), walks(True)], "", "", "")
    assert len(drawn.drawn_once(("x",), model, 1, [walks(False)] * 2, "", "", "")) == 2
