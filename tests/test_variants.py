"""Schedules in a line of text: read back as they were written, wrong ones refused by name."""

import pytest

from ddpm.config import ScheduleConfig
from ddpm.config.variants import MAX_VARIANTS, labels, parse_schedule, parse_schedules, schedules_text
from ddpm.errors import ConfigError
from ddpm.schedule import SCHEDULES


@pytest.mark.parametrize(
    "text",
    [
        *SCHEDULES,
        "cosine:cosine_s=0.02",
        "linear:num_timesteps=200:zero_terminal_snr=true,linear",
        "sigmoid:sigmoid_start=-2.5:sigmoid_end=4:sigmoid_tau=0.123456789",
        "power:beta_start=1e-06:power=7",
    ],
)
def test_text_survives_its_way_through_schedules(text):
    assert schedules_text(parse_schedules(text)) == text


def test_fields_mean_what_they_mean_in_a_config():
    assert parse_schedule("linear:num_timesteps=50:beta_end=0.1") == ScheduleConfig(num_timesteps=50, beta_end=0.1)
    assert parse_schedule(" cosine : cosine_s=0.5 ") == ScheduleConfig(name="cosine", cosine_s=0.5)


def test_defaults_hold_where_the_text_is_silent():
    first, second = parse_schedules("linear,cosine:num_timesteps=30", num_timesteps=20)
    assert (first.num_timesteps, second.num_timesteps) == (20, 30)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "unknown schedule '': valid are linear, cosine"),
        ("cosin", "unknown schedule 'cosin': did you mean 'cosine'?"),
        ("cosine:s=1", "cosine:s=1: schedule.s: unknown key 's'"),
        ("cosine:cosine_s", "cosine:cosine_s: expected field=value, each field once, got 'cosine_s'"),
        ("linear:name=cosine", "linear:name=cosine: expected field=value, each field once, got 'name=cosine'"),
        ("cosine:beta_end=0.5", "cosine:beta_end=0.5: schedule.beta_end: does not belong to the cosine schedule"),
        ("linear:beta_end=7", "linear:beta_end=7: schedule.beta_end: must be less than 1, got '7'"),
        ("linear:beta_end=nan", "linear:beta_end=nan: schedule.beta_end: must be a finite number"),
        ("linear:num_timesteps=1e9", "linear:num_timesteps=1e9: schedule.num_timesteps: must be a valid integer"),
        ("linear:num_timesteps=999999", "linear:num_timesteps=999999: schedule.num_timesteps: must be less than or"),
        ("linear:zero_terminal_snr=7", "linear:zero_terminal_snr=7: schedule.zero_terminal_snr: must be a valid bool"),
        ("sigmoid:sigmoid_tau=0.01", "sigmoid:sigmoid_tau=0.01: schedule: alphas_cumprod must fall"),
        (",".join(["linear"] * (MAX_VARIANTS + 1)), f"at most {MAX_VARIANTS} schedules side by side, got"),
    ],
)
def test_what_is_wrong_is_named(text, message):
    with pytest.raises(ConfigError) as caught:
        parse_schedules(text)
    assert str(caught.value).startswith(message)


def test_labels_say_what_differs_and_are_all_different():
    text = "linear,linear,cosine:cosine_s=0.02,linear:num_timesteps=200:zero_terminal_snr=true,power:power=7"
    assert labels(parse_schedules(text)) == [
        "linear", "linear (2)", "cosine, s = 0.02", "linear, T = 200, zero terminal SNR", "power, power = 7",
    ]  # fmt: skip
