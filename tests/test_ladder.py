"""The step ladder: the plan, the same x_T on every rung, its cost, and how near each comes to the reference."""

import math

import pytest
import torch

from ddpm.errors import ConfigError
from ddpm.evaluation.ladder import (
    Climbed,
    Climbing,
    Rung,
    climb,
    closeness,
    plan_evaluations,
    reference_rung,
    rungs,
    within,
)
from ddpm.models import load_model
from ddpm.samplers import SAMPLERS
from ddpm.sampling import generate
from ddpm.spacing import SPACINGS


def test_the_plan_is_cheap_first_and_ends_with_the_reference():
    plan = rungs(50, ["ddim", "heun"], (50, 5, 10, 100))
    assert plan == [("ddim", 5), ("heun", 5), ("ddim", 10), ("heun", 10), ("heun", 50), ("ddim", 50)]


def climbed(model, plan, *args, **kwargs) -> list[Climbed]:
    return [event for event in climb(model, plan, *args, **kwargs) if isinstance(event, Climbed)]


@pytest.mark.slow
def test_every_rung_starts_from_the_same_noise_and_is_what_the_sampler_alone_gives(random_model):
    model = random_model()
    results = climbed(model, rungs(20, steps=(3, 20)), 4, labels=[1, 2], seed=5)
    assert [result.rung for result in results] == rungs(20, steps=(3, 20))
    for result in results:
        settings = model.config.sampling.model_copy(update={**result.rung._asdict(), "eta": 0.0})
        alone = generate(model, 4, labels=[1, 2], settings=settings, seed=5)
        torch.testing.assert_close(result.images, alone, rtol=0, atol=1e-5)
        calls = 2 * result.rung.num_steps - 1 if result.rung.sampler == "heun" else result.rung.num_steps
        assert result.evaluations == 2 * calls  # under guidance
        assert result.seconds > 0


@pytest.mark.slow
def test_solvers_come_nearer_with_more_steps_and_the_better_ones_sooner():
    model = load_model("digits")
    plan = rungs(200, ("ddim", "heun", "dpmpp_2m"), (5, 20))
    results = {result.rung: result for result in climbed(model, plan, 4, labels=[2, 4, 5, 8])}
    reference = results[reference_rung(200)]
    near = {rung: closeness(result, reference).psnr for rung, result in results.items()}
    assert near[reference_rung(200)] == math.inf
    for sampler in ("ddim", "heun", "dpmpp_2m"):
        assert near[sampler, 5] < near[sampler, 20]
    assert near["dpmpp_2m", 20] > near["ddim", 20]


def test_progress_rises_over_the_batches_of_a_rung(random_model, monkeypatch):
    monkeypatch.setattr("ddpm.evaluation.ladder.BATCH_SIZE", 2)
    events = list(climb(random_model(), [Rung("ddim", 4)], 5))
    shares = [event.share for event in events if isinstance(event, Climbing)]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0, 1)
    assert events[-1].images.shape == (5, 1, 8, 8)


def test_closeness_is_the_mean_psnr_with_its_interval():
    def of(levels):
        return Climbed(Rung("ddim", 5), torch.tensor(levels).view(-1, 1, 1, 1).expand(-1, 1, 4, 4), 5, 1.0)

    psnr, ci95 = closeness(of([0.2, 0.02]), of([0.0, 0.0]))  # errors of 0.1 and 0.01 in [0, 1]: 20 and 40 dB
    assert psnr == pytest.approx(30)
    assert ci95 == pytest.approx(1.96 * math.sqrt(200) / math.sqrt(2))


@pytest.mark.parametrize(("budget", "heun"), [(1, 1), (5, 3), (10, 5), (20, 10)])
def test_a_budget_buys_as_many_steps_as_it_pays_for(random_model, budget, heun):
    steps = dict(within(budget, random_model()))
    assert steps == {name: heun if name == "heun" else budget for name in SAMPLERS}


@pytest.mark.slow
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("schedule", ["linear", "cosine", "zero terminal SNR"])
def test_a_budget_is_never_exceeded_and_one_more_step_would(random_model, schedule, spacing):
    """Heun's first steps are DDIM's, one evaluation each, where the noise is strong: cosine, zero terminal SNR."""
    name, zero = ("linear", True) if schedule.startswith("zero") else (schedule, False)
    model = random_model(
        schedule__name=name, schedule__zero_terminal_snr=zero, schedule__num_timesteps=1000, sampling__spacing=spacing
    )
    for budget in (1, 2, 7, 10, 40):
        for rung in within(budget, model):
            spent, more = (
                plan_evaluations(model, [rung._replace(num_steps=rung.num_steps + extra)]) for extra in (0, 1)
            )
            assert spent <= budget < more, (rung, spent)


@pytest.mark.parametrize("budget", [0, 21])
def test_a_budget_out_of_range_is_an_error(random_model, budget):
    with pytest.raises(ConfigError, match=f"a budget must be 1 to 20 evaluations, got {budget}"):
        within(budget, random_model())
