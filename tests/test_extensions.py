"""Adding a schedule, a sampler or a dataset takes one file: here it is this one, which knows no private name."""

import importlib
import json
import math
import os
import shutil
import subprocess
import sys
from typing import Annotated, Literal

import pytest
import torch
from streamlit.testing.v1 import AppTest

import ddpm
from ddpm.config import config_from_dict, config_from_yaml, config_to_yaml, sampling_settings
from ddpm.config.variants import parse_schedules, schedules_text
from ddpm.data import load_dataset
from ddpm.errors import ConfigError, DataError
from ddpm.evaluation import judge, results, structure
from ddpm.evaluation.results import read_results
from ddpm.extensions import load_extensions
from ddpm.files import RESULTS
from ddpm.media import figures, report_evaluation
from ddpm.metrics import register_metric
from ddpm.options import option
from pages.components import evaluation, frame
from tests.conftest import ROOT, TINY

MODULE = """
import math
import os
from typing import Annotated

import torch

import ddpm


@ddpm.register_schedule(r"\\bar\\alpha = e^{-k u^2}", "A test")
def gauss(num_timesteps: int, *, gauss_k: Annotated[float, ddpm.option("Steepness.", "1", gt=0, le=50)] = 10.0):
    u = torch.linspace(0, 1, num_timesteps + 1, dtype=torch.float64)
    return (1 - torch.exp(-gauss_k * (u[1:] ** 2 - u[:-1] ** 2))).clamp(1e-6, 0.999)


@ddpm.register_sampler("Shrinking", "DDIM that pulls the picture towards grey.", "A test")
def shrinking(denoise, schedule, timesteps, noise, *,
              pull: Annotated[float, ddpm.option("How much.", "share", ge=0, le=1)] = 0.25):
    x = noise()
    for index, t in enumerate(timesteps):
        x0, eps = denoise(x, t)
        yield ddpm.Step(index, t, x, x0, eps)
        s = timesteps[index + 1] if index + 1 < len(timesteps) else -1
        ab = schedule.alpha_bar(s)
        x = math.sqrt(ab) * (1 - pull) * x0 + math.sqrt(1 - ab) * eps
    yield ddpm.Step(len(timesteps), -1, x, x, torch.zeros_like(x))


@ddpm.register_dataset("Two squares", channels=1, image_size=8, num_train=64, class_names=("left", "right"))
def squares(train, download):
    labels = torch.arange(64 if train else 32) % 2
    images = torch.zeros(len(labels), 1, 8, 8, dtype=torch.uint8)
    images[labels == 0, :, 2:6, :4] = 255
    images[labels == 1, :, 2:6, 4:] = 255
    return images, labels
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """The module of somebody else, imported as ``--import`` does, after all of the app; forgotten at the end."""
    for part in (ROOT / "pages" / "components").glob("*.py"):
        importlib.import_module(f"pages.components.{part.stem}")
    (tmp_path / "mine.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("DDPM_IMPORT", "mine")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    registries = (ddpm.SCHEDULES, ddpm.SAMPLERS, ddpm.DATASETS)
    before = [dict(registry) for registry in registries]
    load_extensions()
    yield sys.modules["mine"]
    sys.modules.pop("mine", None)
    for registry, known in zip(registries, before, strict=True):
        registry.clear()
        registry.update(known)


def test_a_schedule_is_one_function(mine, cli, open_page, tmp_path):
    config = config_from_dict({"schedule": {"name": "gauss", "gauss_k": 5}})
    assert config_from_yaml(config_to_yaml(config)) == config
    u = 0.5
    assert config.schedule.build().alpha_bar(499) == pytest.approx(math.exp(-5 * u**2))
    with pytest.raises(ConfigError, match=r"schedule\.gauss_k: must be less than or equal to 50, got 51"):
        config_from_dict({"schedule": {"name": "gauss", "gauss_k": 51}})
    with pytest.raises(ConfigError, match="gauss_k: does not belong to the linear schedule"):
        config_from_dict({"schedule": {"gauss_k": 5}})
    assert schedules_text(parse_schedules("gauss:gauss_k=5,linear")) == "gauss:gauss_k=5,linear"
    assert cli("viz", "schedules", "--schedules", "gauss:gauss_k=5", "--out", "s.png").code == 0
    app = open_page("pages/schedules.py", sched="gauss:gauss_k=5")
    assert any(slider.label == "gauss_k" and slider.value == 5 for slider in app.select_slider)
    app = open_page("pages/train.py")
    app.selectbox(key="train_schedule_name").set_value("gauss").run()
    assert app.text_input(key="train_schedule_gauss_k").value == "10"


def test_a_sampler_is_one_function(mine, tiny_run, cli, open_page, evaluated_before):
    assert cli("sample", "grid", "--model", "run:tiny", "--num-samples", "2", "--sampler", "shrinking", "--pull", "0.5",
               "--steps", "3", "--out", "a.png").code == 0  # fmt: skip
    assert "'pull'" in cli("sample", "grid", "--model", "run:tiny", "--pull", "2", "--steps", "3").err.replace(
        "sampling.pull", "'pull'"
    )
    model = ddpm.load_model("run:tiny")
    plain, pulled = (
        ddpm.generate(model, 2, settings=sampling_settings(model.config, sampler="shrinking", num_steps=3, pull=pull))
        for pull in (0.0, 0.5)
    )
    ddim = ddpm.generate(model, 2, settings=sampling_settings(model.config, sampler="ddim", num_steps=3))
    assert torch.allclose(plain, ddim, atol=1e-5)
    assert pulled.abs().mean() < plain.abs().mean()
    app = open_page("pages/playground.py", play_model="run:tiny", play_count="2", play_sampler="Shrinking",
                    play_steps="3", play_pull="0.5")  # fmt: skip
    assert app.slider(key="play_pull").value == 0.5
    assert any("--pull 0.5" in block.value for block in app.code)
    assert read_results(evaluated_before)  # which was stored when nobody knew this sampler
    assert not open_page("pages/evaluate.py", eval_model="run:tiny").error


@pytest.fixture
def evaluated_before(tiny_run):
    """An evaluation of ``tiny`` without any field that a sampler, metric or schedule of today may add."""
    from ddpm.evaluation.evaluate import Protocol, evaluate_to
    from ddpm.models import load_model

    path = tiny_run / "logs" / RESULTS
    model = load_model("run:tiny")
    list(evaluate_to(path, model, Protocol(model.config.sampling, num_samples=12)))
    stored = json.loads(path.read_text())
    for stage in stored.values():
        stage.get("made_by", {}).get("settings", {}).pop("pull", None)
    path.write_text(json.dumps(stored))
    return path


def test_a_dataset_is_one_function(mine, run_cli, open_page):
    values = json.loads(json.dumps(TINY)) | {"data": {"dataset": "squares", "image_size": 8}}
    values["model"]["num_classes"] = 2
    config = config_from_dict(values)
    assert load_dataset(config.data, "test").class_names == ("left", "right")
    assert len(load_dataset(config.data, "train")) + len(load_dataset(config.data, "val")) == 64
    with pytest.raises(ConfigError, match=r"channels: must be 1 for squares, got 3"):
        config_from_dict(values | {"data": {"dataset": "squares", "channels": 3}})
    app = open_page("pages/train.py")
    assert "squares" in app.selectbox(key="train_data_dataset").options
    app = open_page("pages/schedules.py", sched_source="squares")
    assert app.number_input(key="sched_image_squares").max == 31


def test_a_metric_is_one_function(tiny_run, evaluated_before, cli, open_page, monkeypatch):
    monkeypatch.setattr(judge, "MEASURES", [*judge.MEASURES])
    monkeypatch.setattr(structure, "METRICS", structure.METRICS | {})
    for module in (judge, results, evaluation, report_evaluation, figures):
        monkeypatch.setattr(module, "METRICS", structure.METRICS)

    @register_metric("Mean brightness", ".2f", "Mean of all pixels, -1 to 1.", depends_on=(judge.DATASET,))
    def brightness(judged) -> float:
        return judged.images.mean()

    before = json.loads(evaluated_before.read_text())
    assert not any("brightness" in stage for stage in before.values())
    app = open_page("pages/evaluate.py", eval_model="run:tiny")  # results that were stored before it existed
    assert any("Mean brightness" in text.value and "has not been computed" in text.value for text in app.markdown)
    assert cli("eval", "--model", "run:tiny", "--num-samples", "12").code == 0
    after = json.loads(evaluated_before.read_text())
    stage = next(stage for stage in after.values() if "reference" in stage)
    assert -1 <= stage["brightness"] <= 1
    assert -1 <= stage["reference"]["brightness"] <= 1
    app = open_page("pages/evaluate.py", eval_model="run:tiny")
    assert f"{stage['brightness']:.2f}" in {metric.value for metric in app.metric if metric.label == "Mean brightness"}
    with pytest.raises(ConfigError, match="there is a metric called kid already"):

        @register_metric("x", "", "y")
        def kid(judged):
            return 0.0


def test_a_page_is_one_file(tmp_path, monkeypatch):
    app_folder = tmp_path / "app"
    shutil.copytree(ROOT / "pages", app_folder / "pages", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "streamlit_app.py", app_folder)
    (app_folder / "pages" / "my_lesson.py").write_text(PAGE)
    monkeypatch.setattr(frame, "FOLDER", app_folder / "pages")
    monkeypatch.setattr(frame, "PAGES", frame._pages())
    assert [page.label for page in frame.PAGES][:3] == ["Home", "My lesson", "Playground"]
    app = AppTest.from_file(str(app_folder / "streamlit_app.py"), default_timeout=120).run()
    app = app.switch_page("pages/my_lesson.py").run()
    assert not app.exception
    assert app.title[0].value == "My lesson"
    assert "My lesson" in {link.proto.label for link in app.get("page_link")}


PAGE = """
from pages.components.frame import about, page

PAGE = {"order": 0, "icon": ":material/school:", "about": "Learn."}
page("My lesson", "A page of my own.")
about("Nothing.", "Nobody 2026", "https://example.org")
"""


def test_a_launched_run_knows_them_too(mine, run_cli, tmp_path):
    values = json.loads(json.dumps(TINY)) | {"data": {"dataset": "squares", "image_size": 8}}
    values["model"]["num_classes"] = 2
    values["schedule"] = {"name": "gauss", "num_timesteps": 20}
    values["sampling"] = {"sampler": "shrinking", "num_steps": 5}
    (tmp_path / "c.yaml").write_text(config_to_yaml(config_from_dict(values)))
    done = run_cli("--import", "mine", "train", "--config", "c.yaml", "--run", "boxes")
    assert done.returncode == 0, done.stderr
    done = run_cli("--import=mine", "sample", "grid", "--model", "run:boxes", "--labels", "right", "--pull", "0.1")
    assert done.returncode == 0, done.stderr


def test_what_cannot_be_imported_is_named(cli, tmp_path, monkeypatch):
    assert "error: cannot import nowhere: No module named 'nowhere'" in cli("--import", "nowhere", "models").err
    (tmp_path / "broken.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    assert "error: cannot import broken: division by zero" in cli("--import", "broken", "models").err


def test_a_name_is_given_once():
    with pytest.raises(ConfigError, match="there is a sampler called ddim already: give yours another name"):

        @ddpm.register_sampler("x", "y", "z")
        def ddim(denoise, schedule, timesteps, noise):
            yield

    with pytest.raises(ConfigError, match="its option k needs a type and a default"):

        @ddpm.register_schedule("x", "y")
        def nameless(num_timesteps, *, k):
            return torch.linspace(0.1, 0.2, num_timesteps)

    assert "nameless" not in ddpm.SCHEDULES


def test_an_option_says_all_there_is_to_know():
    def function(
        x, *, a: Annotated[int, option("Help.", "pixels", ge=1)] = 3, b: Literal["x", "y"] = "x", c: bool = False
    ):
        return x

    found = ddpm.options.options_of(function)
    assert [(name, info.default, info.description) for name, info in found.items()] == [
        ("a", 3, "Help."), ("b", "x", ""), ("c", False, ""),
    ]  # fmt: skip
    assert found["a"].json_schema_extra == {"unit": "pixels"}


def test_arrays_of_the_wrong_form_are_refused():
    grey = torch.zeros(4, 8, 8, dtype=torch.uint8)
    for arguments, message in (
        ({"images": grey[:, :, :5]}, r"images must be square, .* got \(4, 1, 8, 5\)"),
        ({"images": torch.zeros(4, 2, 8, 8)}, "with 1 or 3 channels"),
        ({"images": torch.zeros(4, 8, 8)}, r"need value_range, as \(0, 1\) or \(-1, 1\): these go from 0 to 0"),
        ({"images": grey.float() - 1, "value_range": (0, 1)}, "within value_range, 0 to 1: these go from -1 to -1"),
        ({"images": grey, "value_range": (0, 1)}, "value_range is for floats"),
        ({"images": grey.long()}, "must be uint8 or floats, got torch.int64"),
        ({"images": grey, "labels": [0, 1]}, r"labels must be 4 whole numbers, one for each image, .* \(2,\)"),
        ({"images": grey, "labels": [0.0, 1, 1, 0]}, "whole numbers"),
        ({"images": grey, "labels": [0, 1, 2, 0], "class_names": ["a", "b"]}, "labels must be -1 to 1, got 0 to 2"),
    ):
        with pytest.raises(DataError, match=message):
            ddpm.ImageSet.from_arrays(**arguments)


def test_arrays_of_any_form_are_the_same_images():
    channels_last = torch.randint(0, 256, (5, 8, 8, 3), dtype=torch.uint8)
    expected = channels_last.permute(0, 3, 1, 2)
    for images, value_range in (
        (channels_last.numpy(), None),
        (expected, None),
        (expected.double() / 255, (0, 1)),
        (expected.float().numpy() / 127.5 - 1, (-1, 1)),
    ):
        found = ddpm.ImageSet.from_arrays(images, value_range=value_range)
        assert torch.equal(found.images, expected)
        assert found.labels.tolist() == [-1] * 5


def test_the_app_says_which_module_of_ones_own_cannot_be_imported():
    done = subprocess.run(
        [sys.executable, "-c", "import streamlit_app"],
        cwd=ROOT, env=os.environ | {"DDPM_IMPORT": "no_such_module"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "error: cannot import no_such_module: No module named 'no_such_module'"
    assert "Traceback" not in done.stderr
