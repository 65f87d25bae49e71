"""Training: it learns, its averages and rates are those of the formulas, and a resumed run is the same run."""

import copy
import json
import math
import re
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats
import torch
from torch import nn

from ddpm.data import ImageSet, load_dataset
from ddpm.diffusion import diffusion_loss, loss_weights, zero_loss
from ddpm.errors import ConfigError, DDPMError, ModelError
from ddpm.files import RunFolder
from ddpm.jobs import read_status
from ddpm.storage.checkpoints import CHECKPOINT_FORMAT
from ddpm.training import loop, objective, queue
from ddpm.training.checkpoint import restore, save_checkpoint, save_ema
from ddpm.training.ema import EMA
from ddpm.training.events import Progress, SamplesDue, Validated
from ddpm.training.loop import (
    TrainState,
    images_per_step,
    learning_rate_factor,
    steps_per_epoch,
    train,
    validate,
    validation_batches,
)
from ddpm.training.objective import TIMESTEPS, stratified_timesteps
from ddpm.training.run import Run


def load_dataset_of_digits(split) -> ImageSet:
    from ddpm.config import DataConfig

    return load_dataset(DataConfig(dataset="digits", image_size=8, val_fraction=0.1), split)


def records(folder: RunFolder) -> list[dict]:
    return [json.loads(line) for line in folder.metrics.read_text(encoding="utf-8").splitlines()]


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


# -- learning ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_loss_falls_on_training_and_validation_images(tiny_config, few_images):
    state = TrainState(tiny_config(training__epochs=30, training__val_every=75))
    events = list(train(state, *few_images))
    losses = [event.train_loss for event in events if isinstance(event, Progress)]
    validation = [event.val_loss for event in events if isinstance(event, Validated)]
    assert losses[-1] < 0.6 * losses[0]
    assert validation[-1] < validation[0]
    assert state.best_val_loss == min(validation)


@pytest.mark.slow
def test_events_come_when_the_config_says_and_at_the_end(tiny_config, few_images):
    config = tiny_config(training__epochs=5, training__log_every=10, training__val_every=20, training__sample_every=24)
    state = TrainState(config)
    seen = [(type(event), event.step) for event in train(state, *few_images)]
    assert [step for kind, step in seen if kind is Progress] == [10, 20, 25]
    assert [step for kind, step in seen if kind is Validated] == [20, 25]
    assert [step for kind, step in seen if kind is SamplesDue] == [24, 25]
    assert (state.step, steps_per_epoch(320, 64)) == (25, 5)


@pytest.mark.slow
def test_every_image_is_seen_once_an_epoch_and_a_short_set_is_one_batch(tiny_config, few_images, monkeypatch):
    seen = []
    monkeypatch.setattr(objective, "to_float", lambda images: seen.append(images) or images.float() / 127.5 - 1)
    list(train(TrainState(tiny_config(training__epochs=2)), *few_images))
    expected = sorted(image.numpy().tobytes() for image in few_images[0].images)
    for epoch in (seen[:5], seen[5:]):
        assert sorted(image.numpy().tobytes() for image in torch.cat(epoch)) == expected
    assert not torch.equal(torch.cat(seen[:5]), torch.cat(seen[5:]))
    assert steps_per_epoch(10, 64) == 1


@pytest.mark.slow
def test_speed_counts_the_images_that_a_step_really_has(tiny_config, few_images):
    images, val = few_images
    config = tiny_config(training__batch_size=512, training__epochs=20)
    for event in train(TrainState(config), images[:40], val):
        if isinstance(event, Progress):
            assert event.images_per_second * event.elapsed == pytest.approx(40 * event.step, rel=1)
    assert images_per_step(40, 512) == 40
    assert images_per_step(320, 64) == 64


@pytest.mark.slow
def test_the_clock_is_read_when_the_device_has_done_its_work(tiny_config, few_images, monkeypatch):
    """A device of which a step takes 2 s, and a launch nothing; listeners take 100 s, which are not training's."""
    now, queued, waits = 0.0, 0.0, []

    def launch(state, *rest):
        nonlocal queued
        queued += 2.0
        step(state, *rest)

    def wait(device):
        nonlocal now, queued
        waits.append(len(waits))
        now, queued = now + queued, 0.0

    step = loop._train_step
    monkeypatch.setattr(loop, "_train_step", launch)
    monkeypatch.setattr(loop, "wait_for", wait)
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: now))
    config = tiny_config(training__epochs=5, training__log_every=10, training__val_every=20, training__sample_every=24)
    for event in train(TrainState(config), *few_images):
        if isinstance(event, Progress):
            assert (event.images_per_second, event.elapsed) == (64 / 2, 2 * event.step)
            assert event.eta == 2 * (25 - event.step)
        now += 100
    assert len(waits) == 4  # at steps 10, 20, 24 and 25, not at every one


@pytest.mark.slow
def test_labels_are_dropped_at_the_configured_rate(tiny_config, few_images, monkeypatch):
    labels = []
    original = objective.diffusion_loss

    def spy(schedule, model, x0, t, eps, y=None, **settings):
        if settings.get("weights") is not None:  # training; validation has none
            labels.append(y)
        return original(schedule, model, x0, t, eps, y, **settings)

    monkeypatch.setattr(objective, "diffusion_loss", spy)
    list(train(TrainState(tiny_config(training__epochs=8, training__label_dropout=0.3)), *few_images))
    dropped = (torch.cat(labels) == 10).double().mean().item()
    assert dropped == pytest.approx(0.3, abs=4 * math.sqrt(0.3 * 0.7 / (8 * 320)))


@pytest.mark.slow
def test_every_step_draws_its_own_noise(tiny_config, few_images, monkeypatch):
    draws = []
    original = objective.diffusion_loss

    def spy(schedule, model, x0, t, eps, y=None, **settings):
        if settings.get("weights") is not None:
            draws.append(eps)
        return original(schedule, model, x0, t, eps, y, **settings)

    monkeypatch.setattr(objective, "diffusion_loss", spy)
    list(train(TrainState(tiny_config(training__epochs=2)), *few_images))
    assert len(draws) == 10
    assert len({eps.numpy().tobytes() for eps in draws}) == 10
    noise = torch.cat(draws)
    assert noise.var().item() == pytest.approx(1, abs=0.02)


@pytest.mark.slow
def test_no_image_is_mirrored_unless_the_config_says_so(tiny_config, few_images, monkeypatch):
    batches = []
    original = objective.diffusion_loss

    def spy(schedule, model, x0, *arguments, **settings):
        batches.append(x0)
        return original(schedule, model, x0, *arguments, **settings)

    monkeypatch.setattr(objective, "diffusion_loss", spy)
    known = {image.numpy().tobytes() for image in few_images[0].scaled()}
    for flip, share in ((False, 1.0), (True, 0.5)):
        batches.clear()
        list(train(TrainState(tiny_config(data__horizontal_flip=flip)), *few_images))
        images = torch.cat(batches[:5])
        as_stored = sum(image.contiguous().numpy().tobytes() in known for image in images) / len(images)
        assert as_stored == pytest.approx(share, abs=0.0 if share == 1 else 0.12)


@pytest.mark.slow
def test_validation_is_the_same_number_each_time_and_changes_nothing(tiny_config, few_images):
    state = TrainState(tiny_config())
    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert validate(state, few_images[1]) == validate(state, few_images[1])
    assert validate(state, few_images[1], batch_size=7) == pytest.approx(validate(state, few_images[1]), rel=1e-5)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_network_that_returns_zero_has_the_variance_of_eps_as_validation_loss(tiny_config, few_images):
    state = TrainState(tiny_config(diffusion__prediction_type="eps"))
    assert validate(state, few_images[1]) == pytest.approx(1.0, abs=4 * math.sqrt(2 / (64 * 64)))


@pytest.mark.slow
def test_the_same_seed_trains_the_same_weights_and_another_seed_others(tiny_config, few_images):
    def trained(seed):
        state = TrainState(tiny_config(training__seed=seed))
        list(train(state, *few_images))
        return state.model

    first = trained(0)
    assert same_weights(first, trained(0))
    assert not same_weights(first, trained(1))


@pytest.mark.slow
@pytest.mark.parametrize("rate", [float("nan"), 1e30])
def test_a_loss_that_is_not_finite_stops_the_run_and_names_step_and_rate(tiny_config, few_images, rate):
    config = tiny_config(training__epochs=3, training__warmup_steps=0)
    state = TrainState(config)
    if math.isnan(rate):
        next(state.model.parameters()).data.fill_(math.nan)
    else:
        object.__setattr__(config.training, "learning_rate", rate)
    with pytest.raises(DDPMError) as caught:
        list(train(state, *few_images))
    message = str(caught.value)
    assert message.startswith("the loss is ")
    assert "at step 5, learning rate" in message
    assert "lower training.learning_rate" in message


@pytest.mark.slow
def test_a_loss_that_is_not_finite_never_overwrites_the_last_checkpoint(tiny_config, few_images, output_dir):
    """Also where validations come more often than records."""
    config = tiny_config(training__epochs=6, training__log_every=30, training__val_every=5)
    folder = RunFolder(output_dir / "nan")

    def train_into_nan() -> None:
        with Run(config, folder, data=few_images) as run:
            for event in run.events():
                if isinstance(event, Validated) and event.step == 10:
                    next(run.state.model.parameters()).data.fill_(math.nan)

    with pytest.raises(DDPMError, match=r"the (validation )?loss is nan at step"):
        train_into_nan()
    assert read_status(folder).state == "failed"
    assert "lower training.learning_rate" in read_status(folder).error
    weights = torch.load(folder.checkpoint("latest"), weights_only=True)["model"]
    assert all(value.isfinite().all() for value in weights.values())


@pytest.mark.slow
def test_a_finite_loss_that_has_exploded_stops_the_run_and_a_lower_rate_goes_on(tiny_config, few_images, output_dir):
    """The rate is the cause: the largest that a config takes, with nothing clipped, after some steps at a sane one."""
    folder, wild = RunFolder(output_dir / "wild"), {"training__learning_rate": 1.0, "training__grad_clip": 1e9}
    run_to(folder, tiny_config(training__epochs=40), few_images, last_step=11)
    kept = folder.checkpoint("latest").read_bytes()
    with pytest.raises(
        DDPMError, match=r"at step 1[1-9], learning rate 0?\.9\d*, where predicting zero would"
    ) as caught:
        run_to(folder, tiny_config(training__epochs=40, **wild), few_images, resume=True)
    assert "loss is inf" not in str(caught.value)
    assert str(caught.value).endswith(
        "lower training.learning_rate or training.grad_clip; --resume continues from the checkpoint of step 10"
    )
    assert read_status(folder).error == str(caught.value)
    assert folder.checkpoint("latest").read_bytes() == kept
    state = run_to(folder, tiny_config(training__epochs=4), few_images, resume=True)
    assert state.step == 20
    assert state.best_val_loss < 1


@pytest.mark.slow
def test_exploded_weights_are_not_kept_by_a_validation_or_a_stop_that_comes_before_the_losses_show_them(
    tiny_config, few_images
):
    """A window's losses are from before its last step: here the first step ruins weights that no loss has seen."""
    config = tiny_config(training__learning_rate=1.0, training__grad_clip=1e9, training__warmup_steps=0)
    for every, stopping in ((1, False), (1000, True)):
        config = config.model_copy(update={"training": config.training.model_copy(update={"val_every": every})})
        events = train(TrainState(config), *few_images, should_stop=lambda stopping=stopping: stopping)
        assert isinstance(next(events), Progress)
        with pytest.raises(DDPMError, match=r"the validation loss is .* at step 1, learning rate 1,"):
            next(events)


@pytest.mark.parametrize("loss", ["mse", "l1", "huber"])
@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_a_fresh_network_has_the_loss_of_one_that_predicts_zero(tiny_config, few_images, loss, prediction):
    """Its head starts at zero; so the limit of an exploded loss is in the units of the loss, whatever that is."""
    config = tiny_config(
        diffusion__loss=loss, diffusion__prediction_type=prediction, diffusion__weighting="min_snr",
        training__learning_rate=1e-12, training__log_every=1,
    )  # fmt: skip
    state = TrainState(config)
    x0, t, eps, y = next(validation_batches(state, few_images[1]))
    schedule, kind = config.schedule.build(), {"prediction_type": prediction, "loss": loss}
    kind["weights"] = loss_weights(schedule, prediction, "min_snr")
    expected = zero_loss(schedule, x0, t, eps, **kind)
    torch.testing.assert_close(diffusion_loss(schedule, state.model, x0, t, eps, y, **kind), expected)
    wanted = {"eps": eps, "x0": x0}.get(prediction)
    if wanted is not None and loss == "mse":
        per_image = wanted.square().mean((1, 2, 3)) * kind["weights"][t].float()
        torch.testing.assert_close(expected, per_image)


@pytest.mark.slow
def test_validation_tells_the_averaged_weights_from_the_raw_ones(tiny_config, few_images):
    """A decay so slow that the average lags far behind: at first the weights themselves are better."""
    state = TrainState(tiny_config(training__epochs=12, training__ema_decay=0.9999, model__dropout=0.5))
    for event in train(state, *few_images):
        if isinstance(event, Validated):
            assert event.val_loss == validate(state, few_images[1])
            assert event.raw_val_loss == validate(state, few_images[1], network=state.model)
            assert state.model.training
            assert not state.ema.model.training
    assert event.step == 60
    averaged = copy.deepcopy(state.model).eval()
    assert validate(state, few_images[1], network=averaged) == validate(state, few_images[1], network=state.model)
    assert validate(state, few_images[1], network=state.model) < validate(state, few_images[1])


# -- formulas ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.0])
def test_ema_is_the_recursion_with_warm_up(decay):
    live = nn.Linear(2, 1, bias=False)
    ema = EMA(live, decay)
    expected = live.weight.detach().double().clone()
    for step in range(1, 30):
        with torch.no_grad():
            live.weight.copy_(torch.tensor([[math.sin(step), step]]))
        ema.update(live, step)
        now = min(decay, (1 + step) / (10 + step))
        expected = now * expected + (1 - now) * live.weight.detach().double()
        torch.testing.assert_close(ema.model.weight.double(), expected, rtol=1e-5, atol=1e-6)


def test_ema_is_a_second_copy_without_gradients_that_copies_buffers():
    live = nn.BatchNorm1d(3)
    ema = EMA(live, 0.9)
    live(torch.randn(8, 3))
    ema.update(live, 1)
    assert torch.equal(ema.model.running_mean, live.running_mean)
    assert not any(parameter.requires_grad for parameter in ema.model.parameters())
    assert ema.model.weight.data_ptr() != live.weight.data_ptr()
    assert live.training
    assert not ema.model.training


@pytest.mark.parametrize(("warmup", "total"), [(10, 100), (0, 50), (1, 7), (200, 100)])
def test_the_learning_rate_is_a_linear_warm_up_and_then_a_cosine(warmup, total):
    for step in range(total):
        expected = (
            (step + 1) / warmup if step < warmup else (1 + math.cos(math.pi * (step - warmup) / (total - warmup))) / 2
        )
        assert learning_rate_factor(step, total, warmup) == pytest.approx(expected)
    assert learning_rate_factor(max(total, warmup), total, warmup) == pytest.approx(0.0 if total > warmup else 1.0)


@pytest.mark.slow
def test_the_optimizer_runs_at_the_rate_that_is_reported(tiny_config, few_images):
    state = TrainState(tiny_config(training__epochs=4, training__log_every=1))
    for event in train(state, *few_images):
        if isinstance(event, Progress):
            expected = 2e-3 * learning_rate_factor(event.step - 1, 20, 5)
            assert event.learning_rate == state.optimizer.param_groups[0]["lr"] == pytest.approx(expected)
            assert event.epoch == pytest.approx(event.step / 5)


@pytest.mark.parametrize("n", [1, 8, 100, 128])
def test_stratified_timesteps_are_spread_evenly_over_each_batch(n):
    torch.manual_seed(0)
    t = stratified_timesteps(n, 1000).sort().values
    assert 0 <= t[0] <= t[-1] < 1000
    gaps = torch.cat([t[1:] - t[:-1], (t[0] + 1000 - t[-1])[None]])
    assert gaps.min() >= 1000 // n - 1
    assert gaps.max() <= 1000 / n + 1


@pytest.mark.slow
def test_each_stratified_timestep_is_uniform_by_itself():
    torch.manual_seed(0)
    first = torch.stack([stratified_timesteps(16, 20)[3] for _ in range(4000)])
    counts = torch.bincount(first, minlength=20).double()
    assert ((counts - 200) ** 2 / 200).sum().item() < 43.8  # chi-squared, 19 degrees of freedom, p = 0.001


@pytest.mark.parametrize(("name", "law"), [("uniform", scipy.stats.uniform), ("stratified", scipy.stats.uniform),
                                           ("logit_normal", None)])  # fmt: skip
def test_timesteps_have_their_law(name, law):
    torch.manual_seed(0)
    shares = (torch.cat([TIMESTEPS[name](50, 100_000) for _ in range(100)]).double().numpy() + 0.5) / 100_000
    if law is None:
        shares, law = np.log(shares / (1 - shares)), scipy.stats.norm
    assert scipy.stats.kstest(shares, law.cdf).statistic < 1.95 / 5000**0.5  # p = 0.001


def test_a_training_draws_the_timesteps_of_its_config(tiny_config, few_images):
    images = few_images[0][torch.arange(40)]
    early = {}
    for name in ("stratified", "logit_normal"):
        task = objective.objective_of(tiny_config(training__timesteps=name), torch.device("cpu"))
        early[name] = (task.draw(images).t < 3).double().mean().item()  # of 20
    assert early["stratified"] == pytest.approx(0.15, abs=0.025)
    assert early["logit_normal"] == pytest.approx(0.041, abs=0.025)  # a normal below the logit of 0.15


@pytest.mark.slow
def test_gradients_are_clipped(tiny_config, few_images):
    """With a tiny largest norm, plain AdamW still moves; the moments hold the clipped gradient."""
    config = tiny_config(training__grad_clip=1e-3)
    state = TrainState(config)
    event = next(train(state, *few_images))
    assert event.grad_norm > 1e-2
    squared = sum(entry["exp_avg"].square().sum() for entry in state.optimizer.state.values())
    assert squared.sqrt() <= 1e-3


# -- checkpoints and resuming --------------------------------------------------------------------------------------

LONG = {"training__epochs": 6, "training__val_every": 8, "training__log_every": 3, "model__dropout": 0.1}


def run_to(folder, config, images, last_step=None, resume=False):
    """Train until the first event at or after ``last_step``, as a killed process does; else to the end."""
    with Run(config, folder, resume=resume, data=images) as run:
        for event in run.events():
            if last_step and event.step >= last_step:
                break
    return run.state


@pytest.mark.slow
@pytest.mark.parametrize("killed_at", [9, 13, 21])
def test_a_resumed_run_ends_with_the_same_weights_to_the_bit(tiny_config, few_images, output_dir, killed_at):
    config = tiny_config(**LONG)
    whole = run_to(RunFolder(output_dir / "whole"), config, few_images)
    folder = RunFolder(output_dir / "killed")
    run_to(folder, config, few_images, last_step=killed_at)
    resumed = run_to(folder, config, few_images, resume=True)
    assert resumed.step == whole.step == 30
    assert same_weights(resumed.model, whole.model)
    assert same_weights(resumed.ema.model, whole.ema.model)
    assert resumed.best_val_loss == whole.best_val_loss


@pytest.mark.slow
@pytest.mark.parametrize("killed_at", [9, 13, 21])
def test_the_metrics_of_a_resumed_run_have_no_gap_and_no_double(tiny_config, few_images, output_dir, killed_at):
    config, folder = tiny_config(**LONG), RunFolder(output_dir / "killed")
    run_to(folder, config, few_images, last_step=killed_at)
    with open(folder.metrics, "a", encoding="utf-8") as file:
        file.write('{"step": 99, "train_l')  # killed while it wrote
    run_to(folder, config, few_images, resume=True)
    validations = [record["step"] for record in records(folder) if "val_loss" in record]
    progress = [record["step"] for record in records(folder) if "train_loss" in record]
    assert progress == sorted({*range(3, 31, 3), *validations})
    assert validations == [8, 16, 24, 30]


@pytest.mark.slow
def test_resuming_a_finished_run_adds_nothing(tiny_run):
    from ddpm.config import load_config

    folder = RunFolder(tiny_run)
    config, before = load_config(folder.config), records(folder)
    with Run(config, folder, resume=True) as run:
        assert list(run.events()) == []
    assert records(folder) == before


def test_checkpoints_open_with_weights_only_and_say_what_they_are(tiny_run):
    keys = {"format", "config", "step"}
    for kind, more in {"latest": {"model", "ema", "optimizer", "scaler", "best_val_loss", "elapsed", "made_on"},
                       "ema": {"ema"}, "best": {"ema"}}.items():  # fmt: skip
        content = torch.load(RunFolder(tiny_run).checkpoint(kind), weights_only=True)
        assert content.keys() == keys | more
        assert content["format"] == CHECKPOINT_FORMAT
        assert content["config"]["name"] == "tiny"


def test_a_run_leaves_its_files_and_no_temporary_ones(tiny_run):
    files = {str(path.relative_to(tiny_run)) for path in tiny_run.rglob("*") if path.is_file()}
    assert files == {
        "config.yaml", "status.json", ".lock", "logs/training_metrics.jsonl",
        "ckpts/latest.pt", "ckpts/best.pt", "ckpts/ema.pt",
    }  # fmt: skip


@pytest.mark.slow
def test_best_holds_the_weights_of_the_lowest_validation_loss(tiny_config, few_images, output_dir):
    config, folder = tiny_config(**LONG), RunFolder(output_dir / "run")
    best = None
    with Run(config, folder, data=few_images) as run:
        for event in run.events():
            if isinstance(event, Validated) and event.is_best:
                best = (event.step, {k: v.clone() for k, v in run.state.ema.model.state_dict().items()})
    content = torch.load(folder.checkpoint("best"), weights_only=True)
    assert content["step"] == best[0]
    assert all(torch.equal(content["ema"][name], value) for name, value in best[1].items())


def test_a_run_is_not_overwritten_and_nothing_is_not_resumed(tiny_run, tiny_config, output_dir):
    with pytest.raises(ModelError, match="holds a run already: continue it with --resume or choose another --run"):
        Run(tiny_config(), RunFolder(tiny_run)).__enter__()
    with pytest.raises(ModelError, match=r"nothing to resume: .*new holds no run"):
        Run(tiny_config(), RunFolder(output_dir / "new"), resume=True).__enter__()
    assert not (output_dir / "new").exists()


@pytest.mark.slow
def test_a_run_that_diverged_before_its_first_checkpoint_says_so_and_what_works(tiny_config, few_images, output_dir):
    config, folder = tiny_config(training__val_every=1000, training__epochs=300), RunFolder(output_dir / "tiny")

    def into_nan():
        with Run(config, folder, data=few_images) as run:
            for _ in run.events():
                next(run.state.model.parameters()).data.fill_(math.nan)

    with pytest.raises(DDPMError) as caught:
        into_nan()
    remedy = r"delete it \(python -m ddpm runs delete tiny\) or choose another --run"
    assert re.search(f"; run tiny had no checkpoint yet: {remedy}$", str(caught.value))
    remedy = f"run tiny ended before its first checkpoint: {remedy}"
    for resume in (False, True):
        with pytest.raises(ModelError, match=remedy):
            Run(config, folder, resume=resume).__enter__()
        with pytest.raises(ModelError, match=remedy):
            queue.launch(config, resume=resume)
    queue.delete(folder)
    with Run(config, folder, data=few_images) as run:
        next(run.events())


def test_a_run_that_is_interrupted_twice_was_stopped_and_not_failed(tiny_config, few_images, output_dir):
    folder = RunFolder(output_dir / "tiny")

    def interrupted():
        with Run(tiny_config(), folder, data=few_images):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (read_status(folder).state, read_status(folder).error) == ("stopped", None)


def test_labels_that_the_model_cannot_take_are_refused_before_the_name_is_taken(tiny_config, few_images, output_dir):
    config = tiny_config(data__dataset="folder", data__path="x", model__num_classes=3)
    with pytest.raises(ConfigError, match=r"model.num_classes is 3, but the dataset has labels up to 9"):
        Run(config, RunFolder(output_dir / "tiny"), data=few_images).__enter__()
    assert not output_dir.exists()


@pytest.mark.slow
def test_a_checkpoint_of_another_network_or_without_optimizer_is_refused(tiny_config, tmp_path):
    small = TrainState(tiny_config())
    save_checkpoint(small, tmp_path / "small.pt")
    save_ema(small, tmp_path / "ema.pt")
    with pytest.raises(ModelError, match=r"model\.base_channels was 8 when .*small\.pt was written and is 16 now"):
        restore(TrainState(tiny_config(model__base_channels=16)), tmp_path / "small.pt")
    with pytest.raises(ModelError, match=r"ema\.pt holds no 'model'"):
        restore(small, tmp_path / "ema.pt")
