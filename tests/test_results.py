"""How the results of an evaluation are read: what is missing, where, and how sure a share is."""

import pytest
import torch

from ddpm.evaluation import judge
from ddpm.evaluation.intervals import better_of, bootstrap, ci95
from ddpm.evaluation.results import (
    DETAILS,
    INTERVALS,
    METRICS,
    absences,
    missing_metrics,
    real_levels,
    results_csv,
    series_of,
    unavailable,
)
from ddpm.media.figures import quality_chart


def stage_of(steps: int, **changes) -> dict:
    values = dict.fromkeys(METRICS, 0.5) | {"num_samples": 100, "reference": dict.fromkeys(METRICS, 0.6)}
    return values | {"made_by": {"settings": {"sampler": "ddim", "num_steps": steps}}} | changes


def test_every_metric_that_is_shown_is_computed_and_the_other_way_round():
    computed = {name for measure in judge.MEASURES for name in measure.names}
    assert computed == {*METRICS, *DETAILS, *INTERVALS}


def test_what_is_missing_is_named_once_for_each_reason():
    values = {"a": unavailable("r"), "b": 1.0, "c": unavailable("s"), "d": unavailable("r"), "e": None}
    assert absences(values) == {"r": "a, d", "s": "c"}


def test_a_metric_that_only_some_stages_lack_is_named_with_them():
    weights, few = unavailable("no weights"), unavailable("too few")
    stages = [
        stage_of(10, lpips_diversity=weights),
        stage_of(20, lpips_diversity=weights, kid=few, recall=few),
    ]
    assert missing_metrics(stages) == {"no weights": "LPIPS diversity", "too few": "KID, Recall of DDIM, 20 steps"}
    assert missing_metrics(stages, everywhere=False) == {"too few": "KID, Recall of DDIM, 20 steps"}


def test_the_interval_of_a_share_is_that_of_the_binomial():
    assert ci95(stage_of(10), "precision") == pytest.approx(0.098)  # 1.96 x 0.5 / 10
    assert ci95(stage_of(10, precision=unavailable("x")), "precision") is None
    assert ci95(stage_of(10), "kid") is None


def test_the_interval_of_recall_is_over_the_test_images_and_that_of_the_distance_is_stored():
    stage = stage_of(10, nearest_training_image={"num_test_images": 10_000}, frechet_distance_ci95=0.01)
    assert ci95(stage, "recall") == pytest.approx(0.0098)
    assert ci95(stage, "frechet_distance") == 0.01
    before = stage_of(10, nearest_training_image=unavailable("x"), frechet_distance_ci95=unavailable("older"))
    assert ci95(before, "recall") is None
    assert ci95(before, "frechet_distance") is None


def test_which_is_better_is_as_sure_as_the_normal_distribution_says():
    """Two distances 1.96 standard errors of their difference apart: 97.5 % to one side."""
    apart = 0.01 * 2**0.5
    first = stage_of(10, frechet_distance=0.08, frechet_distance_ci95=0.01, label_accuracy=0.4)
    second = stage_of(10, frechet_distance=0.08 + apart, frechet_distance_ci95=0.01)
    found = {better.metric: better for better in better_of(first, second)}
    assert found["frechet_distance"].first
    assert found["frechet_distance"].certainty == pytest.approx(0.975, abs=1e-4)
    assert found["precision"].certainty == pytest.approx(0.5)
    assert not found["label_accuracy"].first
    assert {better.metric: better.first for better in better_of(second, first)}["label_accuracy"]


def test_distances_of_unequal_numbers_of_samples_are_not_compared():
    few, many = (stage_of(10, num_samples=count, frechet_distance_ci95=0.01) for count in (100, 200))
    assert {better.metric for better in better_of(few, many)} == {"precision", "label_accuracy"}


def sampled(steps: int, count: int, distance: float, **settings) -> dict:
    made_by = {"settings": {"sampler": "ddim", "num_steps": steps, "guidance_scale": 1.0} | settings}
    real = {"frechet_distance": 10 / count}
    return stage_of(steps, num_samples=count, network_evaluations=steps, frechet_distance=distance, made_by=made_by,
                    reference=real)  # fmt: skip


def test_a_line_joins_only_what_differs_in_its_steps_alone():
    """Ten times the samples lower the distance of the same model: joined, more steps would look worse."""
    stages = [sampled(100, 1000, 0.09), sampled(50, 10_000, 0.06), sampled(10, 1000, 0.1), sampled(20, 1000, 0.08)]
    series = series_of(stages)
    assert [(line.label, [stage["network_evaluations"] for stage in line.stages]) for line in series] == [
        ("DDIM, n = 10,000", [50]),
        ("DDIM, n = 1,000", [10, 20, 100]),
    ]
    (panel,) = quality_chart({"mnist": dict(enumerate(stages))}, "frechet_distance").panels
    drawn = {trace.label: list(trace.y) for trace in panel.traces}
    assert drawn == {
        "DDIM, n = 10,000": [0.06], "DDIM, n = 1,000": [0.1, 0.08, 0.09],
        "real images, n = 10,000": [0.001, 0.001], "real images, n = 1,000": [0.01, 0.01],
    }  # fmt: skip


def test_other_settings_are_other_lines_and_named_where_they_differ():
    stages = [sampled(10, 100, 0.1), sampled(20, 100, 0.1, guidance_scale=3.0), sampled(20, 100, 0.1, sampler="heun")]
    assert [line.label for line in series_of(stages)] == [
        "DDIM, guidance scale 1.0", "DDIM, guidance scale 3.0", "Heun, guidance scale 1.0"
    ]  # fmt: skip
    assert [line.label for line in series_of(stages[:1])] == ["DDIM"]


def test_an_option_that_a_sampler_does_not_have_is_not_named():
    stages = [sampled(10, 100, 0.1), sampled(10, 100, 0.1, sampler="dpmpp_2m", sde=0.0)]
    assert [line.label for line in series_of(stages)] == ["DDIM", "DPM-Solver++"]


def test_each_number_of_samples_has_its_level_of_real_images():
    unknown = stage_of(10, num_samples=1000, reference=unavailable("no dataset"))
    few = stage_of(50, num_samples=10, reference={"kid": 0.1})
    assert real_levels([unknown, few, stage_of(20)], "kid") == {100: 0.6, 10: 0.1}
    assert real_levels([unknown], "kid") == {}


def test_the_csv_holds_the_classes_and_leaves_out_what_is_unavailable():
    per_class = {"3": {"timesteps": [0], "mse": [0.25], "ssim": unavailable("too small")}}
    calibration = {"timesteps": [0], "mse": [0.5], "psnr": [unavailable("inf")], "per_class": per_class}
    lines = results_csv({"calibration": calibration, "made_by": {}}).splitlines()
    assert lines == ["stage,t,metric,value,real", "calibration,0,mse,0.5,", "calibration/class 3,0,mse,0.25,"]


def test_the_bootstrap_of_balanced_samples_is_the_spread_of_balanced_sets():
    """Ten classes far apart: a mean varies far less where their shares are fixed than where they are not."""
    generator = torch.Generator().manual_seed(0)
    classes = torch.arange(1000) % 10
    sets = [100.0 * classes + torch.randn(1000, generator=generator) for _ in range(400)]
    spread = 1.96 * torch.stack([rows.mean() for rows in sets]).std().item()
    assert spread == pytest.approx(1.96 / 1000**0.5, rel=0.1)
    assert bootstrap(sets[0], lambda rows: rows.mean().item(), 0, classes) == pytest.approx(spread, rel=0.25)
    unbalanced = 1.96 * 100 * (99 / 12 / 1000) ** 0.5  # of the mean of ten equally likely classes
    assert bootstrap(sets[0], lambda rows: rows.mean().item(), 0) == pytest.approx(unbalanced, rel=0.25)
