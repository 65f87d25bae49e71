"""The Schedules page without a browser: cards, the link, the warnings, and the way to the Train page."""

import io
import re
import time

import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from ddpm.config import Config, ScheduleConfig, config_from_yaml, load_config
from ddpm.config.yaml_text import parse_yaml
from ddpm.escaping import as_markdown
from tests.conftest import ROOT


def open_schedules(**query: str) -> AppTest:
    app = AppTest.from_file(str(ROOT / "streamlit_app.py"), default_timeout=60)
    for key, value in {"sched_source": "digits", **query}.items():
        app.query_params[key] = value
    app = app.switch_page("pages/schedules.py").run()
    assert not app.exception
    return app


def run(widget) -> AppTest:
    app = widget.run()
    assert not app.exception
    return app


def shown(app: AppTest) -> list[str]:
    """The labels of the schedules on the page, as the rows of the noised images name them."""
    (table,) = [html.proto.body for html in app.get("html") if "<table>" in html.proto.body]
    return re.findall(r"<th scope=row>.*?<br>(.*?)</th>", table)


def sections(app: AppTest) -> list[str]:
    return [code.value for code in app.code]


@pytest.mark.slow
def test_it_opens_with_three_schedules_their_curves_steps_formulas_and_yaml():
    app = open_schedules()
    assert shown(app) == ["linear", "cosine", "sigmoid"]
    assert len(app.get("plotly_chart")) == 2
    assert len(app.latex) == 3
    assert [parse_yaml(text)["schedule"]["name"] for text in sections(app)] == ["linear", "cosine", "sigmoid"]
    assert not app.warning
    assert any(caption.value.startswith("All start at T - 1") for caption in app.caption)


def test_a_card_has_the_parameters_of_its_schedule_and_what_the_config_says_of_them():
    app = open_schedules()
    assert {slider.key for slider in app.select_slider} == {
        "sched_0_linear_num_timesteps", "sched_0_linear_beta_start",
        "sched_1_cosine_num_timesteps", "sched_1_cosine_cosine_s",
        "sched_2_sigmoid_num_timesteps", "sched_2_sigmoid_sigmoid_start", "sched_2_sigmoid_sigmoid_tau",
    }  # fmt: skip
    slider = app.select_slider(key="sched_0_linear_beta_start")
    assert slider.label == "beta_start – beta_end"
    assert slider.value == (1e-4, 0.02)
    assert "beta at t = 0" in slider.help
    assert "beta at t = T - 1" in slider.help


@pytest.mark.slow
def test_sliders_change_the_schedule_and_its_yaml():
    app = open_schedules()
    app = run(app.select_slider(key="sched_1_cosine_cosine_s").set_value(0.02))
    app = run(app.select_slider(key="sched_0_linear_beta_start").set_range(1e-4, 0.05))
    app = run(app.toggle(key="sched_0_zero_terminal_snr").set_value(True))
    app = run(app.select_slider(key="sched_2_sigmoid_num_timesteps").set_value(100))
    assert shown(app) == ["linear, zero terminal SNR, beta_end = 0.05", "cosine, s = 0.02", "sigmoid, T = 100"]
    linear, *_ = (ScheduleConfig(**parse_yaml(text)["schedule"]) for text in sections(app))
    assert (linear.beta_end, linear.zero_terminal_snr) == (0.05, True)


@pytest.mark.slow
def test_variants_are_duplicated_removed_and_renamed():
    app = open_schedules()
    app = run(app.select_slider(key="sched_0_linear_num_timesteps").set_value(200))
    app = run(app.button(key="sched_0_duplicate").click())
    assert shown(app) == ["linear, T = 200", "linear, T = 200 (2)", "cosine", "sigmoid"]
    app = run(app.selectbox(key="sched_3_name").select("power"))
    assert shown(app) == ["linear, T = 200", "power, T = 200", "cosine", "sigmoid"]
    app = run(app.button(key="sched_0_remove").click())
    app = run(app.button(key="sched_1_remove").click())
    app = run(app.button(key="sched_2_remove").click())
    assert shown(app) == ["power, T = 200"]
    assert app.button(key="sched_3_remove").disabled
    app = run(app.menu_button(key="sched_add").set_value("cosine"))
    assert shown(app) == ["power, T = 200", "cosine"]


@pytest.mark.slow
def test_values_that_make_no_schedule_are_said_on_the_card_and_the_others_drawn():
    app = open_schedules()
    app = run(app.select_slider(key="sched_0_linear_beta_start").set_range(0.01, 0.01))
    assert any(text.value == ":red[beta_start must be below beta_end, got 0.01 and 0.01]" for text in app.markdown)
    assert shown(app) == ["cosine", "sigmoid"]
    app = run(app.select_slider(key="sched_0_linear_beta_start").set_range(0.01, 0.02))
    assert len(shown(app)) == 3


def test_a_link_brings_the_variants_back():
    app = open_schedules(sched="cosine:cosine_s=0.02,linear:beta_start=1.234e-07:num_timesteps=137")
    assert shown(app) == ["cosine, s = 0.02", "linear, T = 137, beta_start = 1.234e-07"]
    assert app.select_slider(key="sched_1_linear_beta_start").value == (1.234e-07, 0.02)
    assert app.select_slider(key="sched_1_linear_num_timesteps").value == 137


@pytest.mark.slow
@pytest.mark.parametrize(
    ("link", "message"),
    [
        ("linear,cosin", "unknown schedule 'cosin': did you mean 'cosine'?"),
        ("linear,cosine:cosine_s=9", "cosine:cosine_s=9: schedule.cosine_s: must be less than or equal to 1, got '9'"),
        ("linear,linear:num_timesteps=99999999", "must be less than or equal to 10000"),
        ("linear,<script>alert(1)</script>", "unknown schedule '<script>alert(1)</script>'"),
        ("linear," + "x" * 5000, "x… is no schedule"),
        (",".join(["linear"] * 40), "40 schedules; the first 12 are shown"),
    ],
)
def test_a_wrong_link_is_told_and_the_rest_of_it_shown(link, message):
    app = open_schedules(sched=link)
    assert any(as_markdown(message) in warning.value for warning in app.warning)
    assert shown(app)[0] == "linear"
    app = run(app.select_slider(key="sched_0_linear_num_timesteps").set_value(200))
    assert not any("The link asks" in warning.value for warning in app.warning)


@pytest.mark.slow
@pytest.mark.parametrize("link", ["", ",", ":", "=", "linear:beta_start=0.9", "null", "%00", "linear:" * 99])
def test_a_link_without_one_schedule_shows_the_first_three(link):
    app = open_schedules(sched=link)
    assert shown(app) == ["linear", "cosine", "sigmoid"]
    assert app.warning or not link  # an empty one asks for nothing


@pytest.mark.slow
@pytest.mark.parametrize("key", ["t", "over", "steps", "spacing", "source", "seed", "image_digits"])
def test_nonsense_in_the_rest_of_the_link_still_opens(key):
    for value in ("-1", "nan", "99999999999", "x,y"):
        assert len(shown(open_schedules(**{f"sched_{key}": value}))) == 3


@pytest.mark.slow
def test_a_start_below_the_last_timestep_is_warned_of():
    app = open_schedules(sched="cosine,scaled_linear,linear:num_timesteps=5", sched_spacing="leading")
    (warning,) = app.warning
    assert "**cosine**: the first step is at t = 900, not at T - 1 = 999" in warning.value
    assert "**scaled_linear**" in warning.value
    assert "the terminal SNR is not near zero" in warning.value
    assert "cannot reach full black or white" in warning.value
    assert [info.value for info in app.info] == ["**linear, T = 5** has only 5 timesteps for 10 steps."]


@pytest.mark.slow
def test_a_dataset_that_is_not_here_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setenv("DDPM_DATA_DIR", str(tmp_path))
    app = open_schedules(sched_source="cifar10")
    assert "dataset cifar10 is not in" in app.info[0].value
    assert len(app.get("plotly_chart")) == 2


@pytest.mark.slow
def test_photographs_are_drawn_in_colour():
    assert shown(open_schedules(sched_source="photographs")) == ["linear", "cosine", "sigmoid"]


def png() -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((90, 60), 80).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.slow
def test_an_upload_is_drawn_and_a_broken_one_is_told():
    app = open_schedules(sched_source="your own image")
    assert app.info[0].value == "Choose an image file above."
    app = run(app.get("file_uploader")[0].set_value(("mine.png", png(), "image/png")))
    assert len(shown(app)) == 3
    app = run(app.get("file_uploader")[0].set_value(("mine.png", png()[:60], "image/png")))
    assert app.info[0].value.startswith("The file cannot be read as an image: ")


@pytest.mark.slow
def test_four_schedules_are_redrawn_within_300_ms():
    app = open_schedules(sched="linear,cosine,sigmoid,scaled_linear")
    seconds = []
    for value in (0.01, 0.012, 0.015, 0.02, 0.025, 0.03, 0.04):
        slider = app.select_slider(key="sched_1_cosine_cosine_s").set_value(value)
        started = time.process_time()  # of this process: a busy machine is no fault of the page
        app = slider.run()
        seconds.append(time.process_time() - started)
    print(f"{1000 * min(seconds):.0f} ms at best, {1000 * max(seconds):.0f} at worst")
    assert shown(app)[1] == "cosine, s = 0.04"
    assert min(seconds) < 0.3


# -- to the Train page ---------------------------------------------------------------------------------------------


@pytest.fixture
def train(monkeypatch):
    monkeypatch.setattr("pages.components.costs.measure_speed", lambda config: 100.0)

    def open_page(**query) -> AppTest:
        app = AppTest.from_file(str(ROOT / "streamlit_app.py"), default_timeout=60)
        for key, value in query.items():
            app.query_params[key] = value
        app = app.switch_page("pages/train.py").run()
        assert not app.exception
        return app

    return open_page


def config_of(app: AppTest) -> Config:
    return config_from_yaml(app.text_area[0].value)


@pytest.mark.slow
def test_the_train_page_starts_from_the_preset_with_the_schedule(train):
    app = train(train_schedule="cosine:cosine_s=0.02:num_timesteps=30", train_from="digits")
    preset = load_config(ROOT / "configs" / "digits.yaml")
    config = config_of(app)
    assert config.schedule == ScheduleConfig(name="cosine", cosine_s=0.02, num_timesteps=30)
    assert config.sampling.num_steps == 30
    assert (config.data, config.model, config.training) == (preset.data, preset.model, preset.training)
    assert app.text_input(key="train_schedule_cosine_s").value == "0.02"
    assert "see the Schedule tab" in app.toast[0].value


@pytest.mark.slow
def test_what_is_changed_after_the_schedule_came_along_stays(train):
    app = train(train_schedule="cosine")
    app = run(app.text_input(key="train_training_epochs").set_value("7"))
    app = run(app.text_input(key="train_schedule_cosine_s").set_value("0.5"))
    config = config_of(app)
    assert (config.training.epochs, config.schedule.cosine_s) == (7, 0.5)


@pytest.mark.slow
def test_a_schedule_that_there_is_not_is_told(train):
    app = train(train_schedule="cosin")
    assert app.error[0].value.startswith("unknown schedule 'cosin': did you mean 'cosine'?")


@pytest.mark.slow
def test_a_fresh_clone_shows_a_photograph(monkeypatch, tmp_path):
    """Of scikit-learn's 8x8 digits, enlarged, one sees a blob."""
    from pages.components import source

    monkeypatch.setenv("DDPM_DATA_DIR", str(tmp_path))
    source.images_of.clear()
    app = AppTest.from_file(str(ROOT / "streamlit_app.py"), default_timeout=120).switch_page("pages/schedules.py").run()
    assert not app.exception
    assert app.selectbox(key="sched_source").value == "photographs"
