"""The Train page without a browser: form and YAML in step, faults beside their fields, launch only when all is well."""

import io
import re
import zipfile
from functools import partial
from types import SimpleNamespace

import pytest
from PIL import Image
from streamlit.runtime.scriptrunner import RerunData, get_script_run_ctx
from streamlit.runtime.state import SessionState
from streamlit.testing.v1 import AppTest

from ddpm import jobs
from ddpm.config import config_from_yaml, load_config
from ddpm.config.settings import all_settings, applies
from ddpm.escaping import as_markdown
from ddpm.files import RunFolder
from ddpm.jobs import read_status
from tests.conftest import ROOT


@pytest.fixture
def train(open_page, monkeypatch):
    """The page, opened; measuring the speed is left out, since it has a test of its own."""
    monkeypatch.setattr("pages.components.costs.measure_speed", lambda config: 100.0)
    return partial(open_page, "pages/train.py")


def text_of(app: AppTest) -> str:
    return app.text_area[0].value


def set_text(app: AppTest, old: str, new: str) -> None:
    assert old in text_of(app)
    app.text_area[0].set_value(text_of(app).replace(old, new)).run()
    assert not app.exception


def red(app: AppTest) -> list[str]:
    return [
        text.value.removeprefix(":red[").removesuffix("]") for text in app.markdown if text.value.startswith(":red[")
    ]


def launch_button(app: AppTest):
    return app.button(key="train_launch")


@pytest.mark.slow
def test_it_starts_from_the_preset_and_shows_every_field_that_applies(train):
    app = train()
    assert config_from_yaml(text_of(app)) == load_config(ROOT / "configs" / "digits.yaml")
    kinds = (app.text_input, app.selectbox, app.toggle, app.pills)
    shown = {w.key for kind in kinds for w in kind if w.key}
    for section, settings in all_settings().items():
        for setting in settings:
            if applies(setting, {"schedule": {"name": "linear"}, "diffusion": {"weighting": "uniform"}}):
                assert f"train_{section}_{setting.name}" in shown
    assert "train_schedule_beta_start" in shown
    assert not shown & {"train_schedule_cosine_s", "train_diffusion_min_snr_gamma", "train_data_path"}
    assert not launch_button(app).disabled
    assert {"Parameters", "Work per image", "Memory", "Steps", "Time here"} <= {m.label for m in app.metric}


@pytest.mark.slow
def test_a_link_chooses_another_preset(train):
    app = train(train_from="mnist")
    assert config_from_yaml(text_of(app)) == load_config(ROOT / "configs" / "mnist.yaml")


@pytest.mark.slow
def test_the_form_writes_into_the_yaml(train):
    app = train()
    app.text_input(key="train_training_learning_rate").set_value("2e-3").run()
    app.text_input(key="train_model_channel_mult").set_value("1, 1").run()
    app.toggle(key="train_data_horizontal_flip").set_value(True).run()
    app.pills(key="train_training_track").set_value(["tensorboard"]).run()
    config = config_from_yaml(text_of(app))
    assert config.training.learning_rate == 2e-3
    assert config.training.track == ("tensorboard",)
    assert config.model.channel_mult == (1, 1)
    assert config.data.horizontal_flip
    said = [text.value for text in app.markdown]
    assert "`training.learning_rate`: 0.001 → **0.002**" in said
    assert app.expander[0].label == "Differs from digits in 4 fields"


@pytest.mark.slow
def test_the_yaml_writes_into_the_form(train):
    app = train()
    set_text(app, "epochs: 90", "epochs: 7")
    set_text(app, "loss: mse", "loss: huber")
    assert app.text_input(key="train_training_epochs").value == "7"
    assert app.selectbox(key="train_diffusion_loss").value == "huber"


@pytest.mark.slow
def test_another_schedule_takes_its_parameters_with_it(train):
    app = train()
    app.selectbox(key="train_schedule_name").select("cosine").run()
    assert not app.exception
    assert config_from_yaml(text_of(app)).schedule.parameters == {"cosine_s": 0.008}
    assert app.text_input(key="train_schedule_cosine_s").value == "0.008"


@pytest.mark.slow
def test_a_fault_stands_beside_its_field_and_its_tab_is_named(train):
    app = train()
    app.text_input(key="train_training_epochs").set_value("0").run()
    assert red(app) == [
        "Fix before launching: **epochs** under Training",
        "must be greater than or equal to 1, got 0",
    ]
    assert not app.error
    assert launch_button(app).disabled
    app.text_input(key="train_training_epochs").set_value("5").run()
    assert red(app) == []
    assert not launch_button(app).disabled


@pytest.mark.slow
def test_a_fault_stands_under_the_yaml_too_with_its_line_where_that_was_edited(train):
    app = train()
    set_text(app, "epochs: 90", "epochs: 0")
    line = 1 + text_of(app).splitlines().index("  epochs: 0")
    assert [error.value for error in app.error] == [
        f"Line {line}, `epochs: 0`: training.epochs must be greater than or equal to 1, got 0"
    ]
    assert "must be greater than or equal to 1, got 0" in red(app)
    app.text_input(key="train_training_seed").set_value("3").run()
    assert not app.error
    assert "must be greater than or equal to 1, got 0" in red(app)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new"), [("  epochs: 90", "  epoch: 90"), ("min_snr_gamma: 5.0", "min_snr_gamma: -5.0")]
)
def test_a_fault_that_the_form_has_no_place_for_stands_under_the_yaml_whatever_was_changed_last(old, new, train):
    app = train()
    set_text(app, old, new)
    line = 1 + text_of(app).splitlines().index(f"  {new.strip()}")
    app.text_input(key="train_training_seed").set_value("3").run()
    assert app.error[0].value.startswith(f"Line {line}, `{new.strip()}`: ")
    assert red(app) == [f"Fix before launching: line {line} of the YAML"]


@pytest.mark.slow
def test_a_field_typed_into_a_section_that_is_none_leaves_the_text_to_be_corrected(train):
    app = train()
    app.text_area[0].set_value("training: 5").run()
    app.text_input(key="train_training_epochs").set_value("3").run()
    assert not app.exception
    assert text_of(app) == "training: 5"
    assert app.error[0].value.startswith("Line 1, `training: 5`: training expected a section")


def test_help_names_the_default_and_what_the_preset_has(train):
    app = train()
    assert app.text_input(key="train_training_epochs").help.endswith("Default: 20. The preset digits has 90.")
    assert not any(expander.label.startswith("Differs") for expander in app.expander)
    assert app.text_input(key="train_training_grad_clip").help.endswith("Default: 1.")
    assert app.text_input(key="train_model_channel_mult").help.endswith("The preset digits has 1, 2.")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("image_size: 8", "image_size: 9", "data.image_size"),
        ("channels: 1", "channels: 3", "data.channels"),
        ("num_classes: 10", "num_classes: 4", "model.num_classes"),
        ("zero_terminal_snr: false", "zero_terminal_snr: 3", "schedule.zero_terminal_snr"),
        ("dataset: digits", "dataset: numbers", "data.dataset"),
        ("attention_resolutions: [4]", "attention_resolutions: [5]", "model.attention_resolutions"),
        ("epochs: 90", "epochs: [many]", "training.epochs"),
    ],
)
def test_every_kind_of_field_can_show_a_wrong_value(old, new, field, train):
    app = train()
    set_text(app, old, new)
    line = 1 + next(i for i, text in enumerate(text_of(app).splitlines()) if text == f"  {new}")
    assert any(error.value.startswith(f"Line {line}, `{new}`: {field} ") for error in app.error)
    assert red(app)
    assert launch_button(app).disabled


@pytest.mark.slow
@pytest.mark.parametrize("text", ["training: [", "- 1", "name: a\n\tb: 1", "x: &a [*a, *a]", "training: 5", ""])
def test_any_text_can_stand_in_the_editor(text, train):
    app = train()
    app.text_area[0].set_value(text).run()
    assert not app.exception
    assert launch_button(app).disabled
    app.text_area[0].set_value("name: fine\n").run()
    assert not launch_button(app).disabled


@pytest.mark.slow
def test_unreadable_yaml_closes_the_form_and_points_at_its_line(train):
    app = train()
    set_text(app, "epochs: 90", "epochs: [")
    assert app.error[0].value.startswith("Line ")
    assert "not valid YAML" in app.error[0].value
    assert app.text_input(key="train_training_batch_size").disabled
    assert app.text_input(key="train_training_batch_size").value == "64"


@pytest.mark.slow
def test_a_training_that_does_not_fit_into_memory_is_said_to_and_not_measured(train, monkeypatch):
    app = train()
    monkeypatch.setattr("pages.components.costs.measure_speed", lambda config: pytest.fail("measured"))
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=3e9))
    app.text_input(key="train_model_base_channels").set_value("512").run()
    assert not app.exception
    # 6.3 in float32, 6.5 where the CPU multiplies bf16.
    assert re.match(r"This training needs 6\.\d GB of memory, and 3\.0 GB are free here now", app.warning[0].value)
    assert {metric.label: metric.value for metric in app.metric}["Time here"] == "–"


@pytest.mark.slow
def test_a_name_is_checked_and_a_free_one_offered(tiny_run, train):
    app = train(train_from="run:tiny")
    assert app.text_input(key="train_name").value == "tiny-2"
    app.text_input(key="train_name").set_value("tiny").run()
    assert red(app) == ["The name is taken by an earlier run"]
    assert launch_button(app).disabled
    app.text_input(key="train_training_epochs").set_value("0").run()
    assert red(app)[0] == "The name is taken by an earlier run", "said beside other faults too"
    app.text_input(key="train_training_epochs").set_value("1").run()
    app.button(key="train_use_free").click().run()
    assert app.text_input(key="train_name").value == "tiny-2"
    assert not launch_button(app).disabled
    app.text_input(key="train_name").set_value("../up").run()
    assert "must be 1 to 64 of a-z" in red(app)[0]
    app.text_input(key="train_name").set_value("fresh").run()
    assert not launch_button(app).disabled


@pytest.mark.slow
def test_launch_starts_a_run_with_the_config_on_the_page(train, tiny_run, output_dir, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    app = train(train_from="run:tiny")
    app.text_input(key="train_training_epochs").set_value("500").run()
    launch_button(app).click().run()
    folder = RunFolder(output_dir / "tiny-2")
    try:
        assert not app.exception
        assert load_config(folder.config).training.epochs == 500
        assert read_status(folder).state == "running"
        assert any(badge.value.startswith(":green-badge[running]") for badge in app.markdown)
        assert app.text_input(key="train_name").value == "tiny-3"
    finally:
        jobs.kill(folder)


@pytest.mark.slow
def test_a_value_and_the_click_that_follows_it_are_taken_together(train, tiny_run, output_dir, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    app = train(train_from="run:tiny")
    app.text_input(key="train_training_epochs").set_value("400")
    launch_button(app).click().run()
    try:
        assert load_config(RunFolder(output_dir / "tiny-2").config).training.epochs == 400
    finally:
        jobs.kill(RunFolder(output_dir / "tiny-2"))


@pytest.mark.slow
def test_values_are_taken_though_the_next_request_comes_while_their_callbacks_run(train, monkeypatch):
    app, dispatch, waiting = train(), SessionState._call_callbacks, [True]

    def dispatch_under_pressure(state, **options):
        if waiting:  # as when the next value is typed at this very moment
            context, states = get_script_run_ctx(), state._current_interaction_widget_states
            request = RerunData(page_script_hash=context.page_script_hash, widget_states=states)
            assert context.script_requests.request_rerun(request)
            waiting.clear()
        dispatch(state, **options)

    monkeypatch.setattr(SessionState, "_call_callbacks", dispatch_under_pressure)
    app.text_input(key="train_training_epochs").set_value("15")
    app.text_input(key="train_training_seed").set_value("7").run()
    assert config_from_yaml(text_of(app)).training.epochs == 15
    assert config_from_yaml(text_of(app)).training.seed == 7


@pytest.mark.slow
def test_a_killed_run_was_stopped_and_one_without_a_checkpoint_says_so(train, tiny_run, output_dir, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    app = train(train_from="run:tiny")
    app.text_input(key="train_training_val_every").set_value("100000").run()
    app.text_input(key="train_training_epochs").set_value("5000").run()
    launch_button(app).click().run()
    app.button(key="train_Kill now_tiny-2").click().run()
    assert not app.exception
    assert read_status(RunFolder(output_dir / "tiny-2")).state == "stopped"
    assert any(caption.value.startswith("It ended before its first checkpoint") for caption in app.caption)


@pytest.mark.slow
def test_a_crashed_run_says_why_and_how_it_can_go_on(tiny_run, train):
    app = train()
    status = RunFolder(tiny_run).status
    status.write_text(status.read_text().replace('"finished"', '"running"').replace('"pid":', '"was":'))
    app.run()
    assert any("crashed" in text.value for text in app.markdown)
    assert any("Resume continues from the last checkpoint" in caption.value for caption in app.caption)


@pytest.mark.slow
def test_delete_asks_first(tiny_run, train):
    app = train()
    assert any(text.value.startswith("Delete **tiny** with its checkpoints") for text in app.markdown)
    app.button(key="train_Delete for good_tiny").click().run()
    assert not app.exception
    assert not tiny_run.exists()


def said(app: AppTest) -> str:
    """What stands in Markdown and in boxes, in the order of the page."""
    return "\n".join(element.value for kind in (app.markdown, app.error, app.warning) for element in kind)


@pytest.mark.slow
def test_a_folder_that_is_not_there_makes_launch_impossible_and_says_so_beside_it(train, tmp_path, output_dir):
    app = train()
    app.selectbox(key="train_data_dataset").select("folder").run()
    assert red(app) == [
        "Fix before launching: **path** under Data",
        "must name the folder that holds the images",
    ]
    assert launch_button(app).disabled
    app.text_input(key="train_data_path").set_value(str(tmp_path / "nowhere")).run()
    assert [error.value for error in app.error] == [f"data.path {tmp_path / 'nowhere'} is not a folder"]
    assert launch_button(app).disabled
    assert not app.exception
    assert not output_dir.exists()


@pytest.mark.slow
def test_a_device_that_is_not_here_makes_launch_impossible(train):
    app = train()
    app.text_input(key="train_training_device").set_value("cuda:7").run()
    assert [error.value for error in app.error] == [
        as_markdown("device 'cuda:7' is not available here: use auto, cpu, cuda, cuda:N or mps")
    ]
    assert launch_button(app).disabled


@pytest.mark.slow
def test_what_does_not_fit_is_said_and_a_click_puts_in_what_would(train):
    app = train()
    assert not [button for button in app.button if (button.key or "").startswith("train_fit_")]
    app.text_input(key="train_schedule_num_timesteps").set_value("50").run()
    app.text_input(key="train_training_epochs").set_value("1").run()
    assert "**num_timesteps** under Schedule: the terminal SNR is not near zero: training left 78 %" in said(app)
    assert "**warmup_steps** under Training: 21 steps in all, under a warm-up of 100" in said(app)
    assert not launch_button(app).disabled
    for field in ("training_warmup_steps", "training_ema_decay", "schedule_num_timesteps"):
        app.button(key=f"train_fit_{field.replace('_', '.', 1)}").click().run()
        assert not app.exception
    assert not [button for button in app.button if (button.key or "").startswith("train_fit_")]
    assert app.text_input(key="train_training_warmup_steps").value == "2"
    config = config_from_yaml(text_of(app))
    assert (config.training.warmup_steps, config.schedule.num_timesteps) == (2, 1000)


@pytest.mark.slow
def test_more_classes_than_the_folder_has_make_launch_impossible(train, tmp_path):
    for i in range(40):
        folder = tmp_path / "images" / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((10, 10), 60).save(folder / f"{i}.png")
    app = train()
    app.selectbox(key="train_data_dataset").select("folder").run()
    app.text_input(key="train_data_path").set_value(str(tmp_path / "images")).run()
    assert "10 classes are asked for, and the folder has 2 class folders" in said(app)
    assert "images are set aside for the test" in said(app)
    assert launch_button(app).disabled
    app.button(key="train_fit_model.num_classes").click().run()
    assert not launch_button(app).disabled
    steps = next(metric for metric in app.metric if metric.label == "Steps")
    assert re.search(r"a step has \d\d images", steps.help)


def zipped(count: int) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for i in range(count):
            picture = io.BytesIO()
            Image.effect_noise((20, 20 + i), 60).save(picture, "PNG")
            archive.writestr(f"{'ab'[i % 2]}/{i}.png", picture.getvalue())
    return content.getvalue()


@pytest.mark.slow
def test_images_that_are_dropped_get_a_config_of_their_own_and_can_be_deleted(train, output_dir):
    app = train()
    app = app.get("file_uploader")[0].set_value(("x.zip", b"PK", "application/zip")).run()
    assert app.error[0].value.startswith("x.zip cannot be opened as a ZIP")
    app = train()
    app = app.get("file_uploader")[0].set_value(("My *pets*.zip", zipped(60), "application/zip")).run()
    assert not app.exception
    assert app.selectbox(key="train_from").value == "images:my-pets"
    config = config_from_yaml(text_of(app))
    assert (config.name, config.data.channels, config.model.num_classes) == ("my-pets", 1, 2)
    assert config.data.path == str(output_dir / "images" / "my-pets")
    assert launch_button(app).label == "Looks right, start"
    assert not launch_button(app).disabled
    assert "**Grey**: none of them has colour" in said(app)
    assert any("60 images" in caption.value for caption in app.caption)
    assert [expander.label.split(",")[0] for expander in app.expander][:2] == ["How it learns", "Advanced: every field"]
    app.text_input(key="train_data_image_size").set_value("16").run()
    assert not app.exception

    RunFolder(output_dir / "my-pets").keep_config(text_of(app))  # a run of them: who comes back looks for that
    app = train()
    assert app.selectbox(key="train_from").value == "images:my-pets"
    assert launch_button(app).label == "Train again"
    keys = [button.key for button in app.button]
    assert keys.index("train_Delete for good_my-pets") < keys.index("train_launch")
    app.button(key="train_forget").click().run()
    assert not app.exception
    assert list((output_dir / "images").iterdir()) == []
    assert config_from_yaml(text_of(app)).data.dataset == "digits"


@pytest.mark.slow
def test_in_public_no_images_come_in(open_page, monkeypatch, output_dir):
    (output_dir / "images/mine").mkdir(parents=True)
    (output_dir / "images/mine/.taken.json").write_text("{}")
    monkeypatch.setenv("DDPM_PUBLIC", "1")
    app = open_page("pages/train.py", train_from="images:mine")
    assert not app.get("file_uploader")
    assert "images:mine" not in app.selectbox(key="train_from").options


@pytest.mark.slow
@pytest.mark.parametrize("name", ["2024", "1e3", "no", "null"])
def test_a_name_that_looks_like_a_number_stays_a_name(train, name):
    app = train()
    app.text_input(key="train_name").set_value(name).run()
    assert red(app) == []
    assert config_from_yaml(text_of(app)).name == name
    assert app.text_input(key="train_name").value == name
    if name != "null":  # which is no value in YAML
        set_text(app, f"'{name}'", name)
        assert app.text_input(key="train_name").value == name


@pytest.mark.slow
def test_the_sentence_under_the_time_is_whole(train):
    time = next(metric for metric in train().metric if metric.label == "Time here")
    assert time.help.endswith("validation and sample grids come on top.")
