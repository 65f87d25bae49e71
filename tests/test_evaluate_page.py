"""The Evaluate page without a browser: results at once, what is missing named, and an evaluation as a job."""

import csv
import io
import json
import time
from functools import partial

import pytest
from streamlit.testing.v1 import AppTest

from ddpm import jobs
from ddpm.evaluation import job
from ddpm.evaluation.results import results_csv, sample_stages, stage_label
from ddpm.files import EvaluationFolder, RunFolder
from ddpm.jobs import read_status
from ddpm.models import load_model
from ddpm.storage.places import PRETRAINED
from ddpm.training.averages import GRID, compare_lengths
from tests.conftest import ROOT
from tests.test_training import run_to


@pytest.fixture
def evaluate_page(open_page):
    return partial(open_page, "pages/evaluate.py")


def wait_until_done(folder: EvaluationFolder, seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while read_status(folder).state == "running":
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture
def evaluated(tiny_run, monkeypatch):
    """The tiny run, evaluated by a job; its folder."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    folder = EvaluationFolder(tiny_run)
    job.launch(load_model("run:tiny"), num_samples=20, all_methods=True)
    try:
        wait_until_done(folder)
        assert read_status(folder).state == "finished", folder.log_tail(10)
        yield folder
    finally:
        jobs.kill(folder)


@pytest.mark.slow
def test_a_model_without_an_evaluation_says_how_to_make_one(evaluate_page, tiny_run):
    app = evaluate_page(eval_model="run:tiny")
    assert "python -m ddpm eval --model run:tiny" in app.info[0].value
    assert app.button(key="eval_start").label == "Evaluate"


@pytest.mark.slow
def test_the_shipped_results_stand_there_at_once(evaluate_page):
    app = evaluate_page(eval_model="mnist")
    results = json.loads((PRETRAINED / "mnist" / "evaluation_results.json").read_text())
    table = app.dataframe[0].value
    assert len(table) == len(results["calibration"]["timesteps"]) == 10
    assert table["noise: MSE"].iloc[0].startswith(f"{results['calibration']['mse'][0]:#.3g}")
    assert {"MSE, linear denoiser", "MSE, seed report"} <= set(table.columns)
    stage = sample_stages(results)["ddim_20steps"]
    shown = {metric.label: metric.value for metric in app.metric}
    assert shown["Fréchet distance"] == f"{stage['frechet_distance']:.3g}"
    assert shown["Label accuracy"] == f"{stage['label_accuracy']:.1%}"


@pytest.mark.slow
def test_a_job_evaluates_and_the_page_shows_what_it_found(evaluate_page, evaluated):
    app = evaluate_page(eval_model="run:tiny")
    results = json.loads(evaluated.evaluation.read_text())
    assert [metric.label for metric in app.metric] == ["Pixel diversity"]
    assert any("KID" in text.value and "of scikit-learn's 8x8 digits" in text.value for text in app.markdown)
    assert app.dataframe[1].value["samples by"].tolist() == [*map(stage_label, sample_stages(results).values())]
    assert app.selectbox(key="eval_stage").value == "ddim_5steps"
    assert any(caption.value.startswith("Ratios: ") for caption in app.caption)


@pytest.mark.slow
def test_a_link_that_calls_a_sampler_by_its_key_still_leads_there(evaluate_page):
    app = evaluate_page(eval_model="mnist", eval_stage="dpmpp_2m, 50 steps")
    assert app.selectbox(key="eval_stage").value == "dpmpp_2m_50steps"
    assert "DPM-Solver++, 50 steps" in app.selectbox(key="eval_stage").options


@pytest.mark.slow
def test_a_second_evaluation_of_a_model_waits_for_the_first(evaluate_page, tiny_run, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    folder = EvaluationFolder(tiny_run)
    job.launch(load_model("run:tiny"), num_samples=10_000, all_methods=True)
    try:
        app = evaluate_page(eval_model="run:tiny")
        assert app.button(key="eval_start").disabled
        app.button(key="eval_stop").click().run()
        assert not app.exception
        assert read_status(folder).state == "stopped"
    finally:
        jobs.kill(folder)


@pytest.mark.slow
def test_a_failed_evaluation_says_why(evaluate_page, tiny_run, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tiny_run / "logs").mkdir(exist_ok=True)
    RunFolder(tiny_run).evaluation.write_text("[]")
    folder = EvaluationFolder(tiny_run)
    job.launch(load_model("run:tiny"), num_samples=10, all_methods=False)
    wait_until_done(folder)
    assert read_status(folder).state == "failed"
    app = evaluate_page(eval_model="run:tiny")
    assert any("is no evaluation: delete it" in error.value for error in (*app.error, *app.info))


@pytest.mark.slow
def test_without_the_dataset_the_rest_is_shown_and_each_absence_named(evaluate_page, run_without_dataset):
    app = evaluate_page(eval_model="run:tiny")
    assert [metric.label for metric in app.metric] == ["Pixel diversity"]
    named = [text.value for text in app.markdown if "connect to the network once" in text.value]
    assert [text.split("**")[1] for text in named] == ["Real images", "Calibration", "Nearest training images"]
    assert len(app.get("plotly_chart")) == 1  # of pixel diversity


@pytest.mark.slow
def test_a_class_of_its_own_and_a_second_model_stand_beside_the_first(evaluate_page, evaluated):
    shipped = json.loads((PRETRAINED / "digits" / "evaluation_results.json").read_text())
    app = evaluate_page(eval_model="digits", eval_second="run:tiny")
    assert {"MSE, run:tiny", "MSE, linear denoiser"} <= set(app.dataframe[0].value.columns)
    ours = json.loads(evaluated.evaluation.read_text())
    assert app.dataframe[0].value["MSE, run:tiny"].iloc[0] == f"{ours['calibration']['mse'][0]:#.3g}"
    models = app.dataframe[1].value["model"].tolist()
    assert models == ["digits"] * len(sample_stages(shipped)) + ["run:tiny"] * len(sample_stages(ours))
    app.selectbox(key="eval_class").set_value("3").run()
    assert not app.exception
    table = shipped["calibration"]["per_class"]["3"]
    assert app.dataframe[0].value["noise: MSE"].iloc[0].startswith(f"{table['mse'][0]:#.3g} ±")
    assert any(f"Over {table['num_images']} test images" in text.value for text in app.caption)


@pytest.mark.slow
def test_a_damaged_stage_and_a_metric_that_is_missing_are_named(evaluate_page, evaluated):
    results = json.loads(evaluated.evaluation.read_text())
    results["ddim_5steps"]["made_by"] = {"sha256": results["made_by"]["sha256"]}
    for name, stage in results.items():
        if name.startswith("dd"):
            stage.pop("pixel_diversity", None)
    evaluated.evaluation.write_text(json.dumps(results))
    app = evaluate_page(eval_model="run:tiny")
    said = [text.value for text in app.markdown]
    damaged = "**ddim_5steps** not available: what is stored of this stage is damaged (made_by.model: field required)"
    assert any(damaged in t for t in said)
    assert any("**Pixel diversity" in t and "evaluate again, which computes just what is missing" in t for t in said)
    assert "DDIM, 10 steps" in app.dataframe[1].value["samples by"].tolist()


@pytest.mark.slow
def test_the_csv_holds_every_number(evaluated):
    results = json.loads(evaluated.evaluation.read_text())
    rows = list(csv.DictReader(io.StringIO(results_csv(results))))
    mse = [float(row["value"]) for row in rows if row["stage"] == "calibration" and row["metric"] == "mse"]
    assert mse == results["calibration"]["mse"]
    linear = [row for row in rows if row["stage"] == "calibration/wiener" and row["metric"] == "mse"]
    assert [float(row["value"]) for row in linear] == results["calibration"]["wiener"]["mse"]
    (row,) = [row for row in rows if row["stage"] == "ddim_5steps" and row["metric"] == "pixel_diversity"]
    assert float(row["value"]) == results["ddim_5steps"]["pixel_diversity"]
    assert float(row["real"]) == results["ddim_5steps"]["reference"]["pixel_diversity"]


def test_a_run_with_snapshots_is_compared_by_the_length_of_its_average(
    evaluate_page, tiny_config, few_images, output_dir
):
    folder = RunFolder(output_dir / "averaged")
    run_to(folder, tiny_config(training__ema_snapshots=5, name="averaged"), few_images)
    page = evaluate_page(eval_model="run:averaged")
    assert "Length of the average" in [header.value for header in page.header]
    page.button("eval_lengths").click().run()
    assert not page.exception
    losses = dict(compare_lengths(folder))
    best = min(losses, key=losses.get)
    slider = page.select_slider("eval_length")
    assert slider.options == [f"{length:g}" for length in GRID]
    assert slider.value == best
    slider.set_value(0.2).run()
    assert not page.exception
    assert any(f"Validation loss {losses[0.2]:.5f}" in caption.value for caption in page.caption)
    assert "python -m ddpm ema --run averaged --length 0.2" in [code.value for code in page.code]


def test_a_run_without_snapshots_has_no_length_to_choose(evaluate_page, tiny_run):
    page = evaluate_page(eval_model="run:tiny")
    assert "Length of the average" not in [header.value for header in page.header]


def test_which_of_two_models_is_better_stands_with_its_certainty():
    def script():
        from ddpm.evaluation.structure import METRICS
        from pages.components.evaluation import which_is_better

        def stage(distance, half):
            return dict.fromkeys(METRICS, 0.5) | {
                "num_samples": 1000, "frechet_distance": distance, "frechet_distance_ci95": half
            }  # fmt: skip

        which_is_better({"first": stage(0.09, 0.004), "second": stage(0.06, 0.003)})

    page = AppTest.from_function(script).run()
    assert not page.exception
    (table,) = page.dataframe
    rows = table.value.set_index("metric")
    assert [*rows.loc["Fréchet distance"]] == ["0.09 ± 0.004", "0.06 ± 0.003", "second", "> 99.9%"]
    assert rows.loc["Precision", "certainty"] == "50.0%"


@pytest.mark.slow
def test_a_chosen_model_without_an_evaluation_is_one_button_from_it(open_page, tiny_run):
    app = open_page("pages/evaluate.py", eval_model="run:tiny")
    assert app.info[0].value.endswith(", or press **Evaluate** below.")
    app = open_page("pages/evaluate.py", eval_model="digits", eval_second="run:tiny")
    assert app.info[0].value.endswith(", or choose it as the model and press **Evaluate** below.")
