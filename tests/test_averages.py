"""Averages of the weights whose length is chosen after the training, and trainings that start from a model."""

import numpy as np
import pytest
import torch
from torch import nn

import ddpm
from ddpm.config import load_config
from ddpm.deploy.public import check_config, published
from ddpm.errors import ConfigError, ModelError
from ddpm.files import RunFolder
from ddpm.media.subject import write_model_files
from ddpm.models import load_model
from ddpm.training.averages import average_of, compare_lengths
from ddpm.training.ema import LENGTHS, PowerEMA, coefficients, power_of
from ddpm.training.snapshots import snapshots_of
from tests.test_training import run_to, same_weights

LONG = {"training__epochs": 6, "training__val_every": 8, "training__ema_snapshots": 6}


class Trajectory(nn.Module):
    def __init__(self, values):
        super().__init__()
        self.weight = nn.Parameter(torch.as_tensor(values, dtype=torch.float64), requires_grad=False)


def test_the_power_of_a_length_is_that_of_the_paper():
    """Karras et al. 2024 (arXiv:2312.02696), section 3.1: 0.05 and 0.10 are gamma = 16.97 and 6.94."""
    assert power_of(0.05) == pytest.approx(16.97, abs=0.005)
    assert power_of(0.10) == pytest.approx(6.94, abs=0.005)


@pytest.mark.parametrize("length", [0.03, 0.05, 0.1, 0.2])
def test_an_average_spans_its_length(length):
    """Of a weight that is tau, and one that is tau squared: so the mean and the spread of tau under the average."""
    steps, live = 4000, Trajectory([0.0, 0.0])
    average = PowerEMA(live, length)
    for step in range(1, steps + 1):
        live.weight.copy_(torch.tensor([step, step**2], dtype=torch.float64))
        average.update(live, step)
    mean, square = average.model.weight.tolist()
    gamma = power_of(length)
    assert mean / steps == pytest.approx((gamma + 1) / (gamma + 2), abs=1e-3)
    assert np.sqrt(square - mean**2) / steps == pytest.approx(length, rel=0.01)


def test_a_stored_average_is_found_again_exactly():
    stored = [(step, length) for step in (250, 500, 750, 1000) for length in LENGTHS]
    for place in (6, 7):
        found = coefficients(stored, 1000, stored[place][1])
        np.testing.assert_allclose(found, np.eye(len(stored))[place], atol=1e-8)


@pytest.mark.parametrize("length", [0.03, 0.07, 0.15])
def test_another_length_is_reconstructed_from_snapshots(length):
    """Against the average that was tracked all the way, over a walk at random that slows down as a training does."""
    steps, count = 3200, 16
    generator = np.random.default_rng(0)
    walk = np.cumsum(generator.normal(size=(steps, 200)) / np.sqrt(np.arange(1, steps + 1))[:, None], axis=0)
    live = Trajectory(walk[0])
    kept, wanted = [PowerEMA(live, stored) for stored in LENGTHS], PowerEMA(live, length)
    stored, weights = [], []
    for step in range(1, steps + 1):
        live.weight.copy_(torch.from_numpy(walk[step - 1]))
        for average in (*kept, wanted):
            average.update(live, step)
        if step % (steps // count) == 0:
            stored += [(step, length) for length in LENGTHS]
            weights += [average.model.weight.clone() for average in kept]
    found = coefficients(stored, steps, length) @ torch.stack(weights).numpy()
    tracked = wanted.model.weight.numpy()
    nearest = min(np.abs(average.model.weight.numpy() - tracked).std() for average in kept)
    assert np.abs(found - tracked).std() < 0.1 * nearest


@pytest.mark.slow
def test_a_resumed_run_leaves_the_same_snapshots_to_the_bit(tiny_config, few_images, output_dir):
    config = tiny_config(**LONG)
    whole, killed = (RunFolder(output_dir / name) for name in ("whole", "killed"))
    run_to(whole, config, few_images)
    run_to(killed, config, few_images, last_step=21)
    assert [int(file.stem) for file in snapshots_of(killed)] == [5, 10, 15, 20]
    run_to(killed, config, few_images, resume=True)
    assert [int(file.stem) for file in snapshots_of(whole)] == [5, 10, 15, 20, 25, 30]
    for mine, theirs in zip(snapshots_of(whole), snapshots_of(killed), strict=True):
        assert mine.read_bytes() == theirs.read_bytes()


@pytest.mark.slow
def test_the_average_of_a_run_is_a_model_and_its_stored_lengths_are_those_tracked(tiny_config, few_images, output_dir):
    folder = RunFolder(output_dir / "tracked")
    state = run_to(folder, tiny_config(**LONG), few_images)
    for average in state.averages:
        found = average_of(folder, average.length).network.state_dict()
        for name, value in average.model.state_dict().items():
            torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-4)  # stored in half precision


@pytest.mark.slow
def test_an_early_average_is_that_of_a_shorter_run(tiny_config, few_images, output_dir):
    folder = RunFolder(output_dir / "early")
    config = tiny_config(**LONG)
    run_to(folder, config, few_images)
    early = average_of(folder, 0.05, step=15).network
    for file in snapshots_of(folder)[3:]:
        file.unlink()
    assert same_weights(early, average_of(folder, 0.05).network)
    with pytest.raises(ConfigError, match="run early has no snapshot of step 7: take one of 5, 10, 15"):
        average_of(folder, 0.05, step=7)


@pytest.mark.slow
def test_the_command_compares_lengths_and_writes_one(tiny_config, output_dir, cli):
    config = tiny_config(**LONG | {"training__epochs": 1})
    folder = RunFolder(output_dir / "averaged")
    run_to(folder, config, None)
    table = cli("ema", "--run", "averaged").out.splitlines()
    losses = dict(compare_lengths(folder))
    assert table[1:] == [f"{length:<6g}  {loss:.5f}" for length, loss in losses.items()]
    assert cli("ema", "--run", "averaged", "--length", "0.07").code == 0
    saved = load_model(str(folder.averages / "length-0.07"))
    assert same_weights(saved.network, average_of(folder, 0.07).network)


@pytest.mark.slow
def test_without_snapshots_there_is_nothing_to_average(tiny_run, output_dir):
    folder = RunFolder(tiny_run)
    with pytest.raises(ModelError, match=r"has no snapshots of its averages: train it with training\.ema_snapshots"):
        average_of(folder, 0.05)
    with pytest.raises(ConfigError, match=r"the length must be 0\.005 to 0\.25 of the training, got 0\.5"):
        average_of(folder, 0.5)


@pytest.mark.slow
def test_averages_cannot_begin_in_the_middle_of_a_run(tiny_config, few_images, output_dir):
    folder = RunFolder(output_dir / "late")
    run_to(folder, tiny_config(**LONG | {"training__ema_snapshots": 0}), few_images, last_step=9)
    with pytest.raises(ModelError, match=r"training\.ema_snapshots was 0 when .* averages begin with a run"):
        run_to(folder, tiny_config(**LONG), few_images, resume=True)


@pytest.mark.slow
def test_a_training_starts_from_a_model(tiny_run, tiny_config, few_images, output_dir):
    folder = RunFolder(output_dir / "on")
    config = tiny_config(training__start_from="run:tiny", training__epochs=1, training__learning_rate=1e-12)
    state, source = run_to(folder, config, few_images), load_model("run:tiny").network.state_dict()
    for network in (state.model, state.ema.model):
        for name, value in network.state_dict().items():
            torch.testing.assert_close(value, source[name], rtol=0, atol=1e-6)
    assert load_config(folder.config).training.start_from == "run:tiny"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model__base_channels": 16}, r"training\.start_from: run:tiny"),
        ({"diffusion__prediction_type": "x0"}, r"training\.start_from: run:tiny predicts v, and"),
        ({"training__start_from": "run:nobody"}, "nobody"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_before_anything_is_written(
    tiny_run, tiny_config, few_images, output_dir, changes, message
):
    config = tiny_config(**{"training__start_from": "run:tiny"} | changes)
    with pytest.raises((ModelError, ConfigError), match=message):
        run_to(RunFolder(output_dir / "refused"), config, few_images)
    assert not (output_dir / "refused" / "config.yaml").exists()


@pytest.mark.slow
def test_a_training_in_memory_starts_from_a_model_too(tiny_run, tiny_config, few_images):
    """It began from scratch without a word."""
    config = tiny_config(training__start_from="run:tiny", training__epochs=1, training__learning_rate=1e-12)
    source = load_model("run:tiny").network.state_dict()
    for name, value in ddpm.train(config, few_images[0]).model.network.state_dict().items():
        assert torch.equal(value, source[name])


@pytest.mark.slow
def test_a_published_config_does_not_say_where_the_model_lay_that_it_started_from(
    tiny_run, tiny_config, few_images, output_dir, tmp_path
):
    config = tiny_config(training__start_from=str(tiny_run), training__epochs=1)
    run_to(RunFolder(output_dir / "on"), config, few_images)
    write_model_files("run:on", tmp_path / "published")
    text = (tmp_path / "published" / "config.yaml").read_text()
    assert "start_from: tiny\n" in text
    assert str(tiny_run.parent) not in text


def test_a_public_page_neither_looks_at_nor_shows_a_model_that_it_does_not_offer(monkeypatch, tiny_config):
    """Its visitors could ask which files there are."""
    config, offered = (tiny_config(training__start_from=name) for name in ("/etc/passwd", "mnist"))
    check_config(config)
    assert published(config) == config
    monkeypatch.setenv("DDPM_PUBLIC", "1")
    with pytest.raises(ConfigError, match=r"training\.start_from: unknown model '/etc/passwd'"):
        check_config(config)
    check_config(offered)
    assert published(offered).training.start_from == "mnist"
    assert published(config).training.start_from == "your/model"
