"""How the results of an evaluation are read: what is missing, where, and how sure a share is."""

import pytest

from ddpm.evaluation.results import METRICS, absences, missing_metrics, real_level, results_csv, share_ci95, unavailable


def stage_of(steps: int, **changes) -> dict:
    values = dict.fromkeys(METRICS, 0.5) | {"num_samples": 100, "reference": dict.fromkeys(METRICS, 0.6)}
    return values | {"made_by": {"settings": {"sampler": "ddim", "num_steps": steps}}} | changes


def test_what_is_missing_is_named_once_for_each_reason():
    values = {"a": unavailable("r"), "b": 1.0, "c": unavailable("s"), "d": unavailable("r"), "e": None}
    assert absences(values) == {"r": "a, d", "s": "c"}


def test_a_metric_that_only_some_stages_lack_is_named_with_them():
    weights, few = unavailable("no weights"), unavailable("too few")
    stages = [
        stage_of(10, lpips_diversity=weights),
        stage_of(20, lpips_diversity=weights, kid=few, recall=few),
    ]
    assert missing_metrics(stages) == {"no weights": "LPIPS diversity", "too few": "KID, Recall of ddim, 20 steps"}
    assert missing_metrics(stages, everywhere=False) == {"too few": "KID, Recall of ddim, 20 steps"}


def test_the_interval_of_a_share_is_that_of_the_binomial():
    assert share_ci95(stage_of(10), "precision") == pytest.approx(0.098)  # 1.96 x 0.5 / 10
    assert share_ci95(stage_of(10, precision=unavailable("x")), "precision") is None
    assert share_ci95(stage_of(10), "kid") is None


def test_the_level_of_real_images_is_that_of_the_stage_with_the_most_samples_that_knows_it():
    unknown = stage_of(10, num_samples=1000, reference=unavailable("no dataset"))
    assert real_level([unknown, stage_of(20), stage_of(50, num_samples=10, reference={"kid": 0.1})], "kid") == 0.6
    assert real_level([unknown], "kid") is None


def test_the_csv_holds_the_classes_and_leaves_out_what_is_unavailable():
    per_class = {"3": {"timesteps": [0], "mse": [0.25], "ssim": unavailable("too small")}}
    calibration = {"timesteps": [0], "mse": [0.5], "psnr": [unavailable("inf")], "per_class": per_class}
    lines = results_csv({"calibration": calibration, "made_by": {}}).splitlines()
    assert lines == ["stage,t,metric,value,real", "calibration,0,mse,0.5,", "calibration/class 3,0,mse,0.25,"]
