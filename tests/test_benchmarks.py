"""What the benchmarks claim of themselves: who is matched, what is counted, and which way a ratio points."""

import json
from functools import partial

import pytest
import torch

from benchmarks import ablations, machine, overhead
from benchmarks.__main__ import TASKS, main, parse, tasks_of
from benchmarks.contenders import OURS, PEERS
from benchmarks.drawn import draw
from benchmarks.quality import Curve, Plan, Point, eps_mse, looks, repeated
from benchmarks.rows import Row, interleaved, json_text, table
from ddpm import generate, load_model, make_schedule
from ddpm.config import sampling_settings
from ddpm.data import ImageSet
from ddpm.diffusion import q_sample, target
from ddpm.errors import DataError
from ddpm.media.images import to_uint8
from tests.conftest import ROOT


def test_a_perfect_network_of_any_kind_finds_all_the_noise():
    schedule, generator = make_schedule("linear", 1000), torch.Generator().manual_seed(0)
    x0, eps = torch.randn(2, 16, 1, 4, 4, generator=generator)
    t = torch.arange(1, 1000, 62)[:16]
    for kind in ("eps", "v", "x0"):
        wanted = target(schedule, x0, eps, t, kind)
        # x0 divides by s, the root of 1e-4 at its smallest: rounding in float32 is 100 times as large there.
        assert eps_mse(lambda x, t, out=wanted: out, schedule, [(x0, t, eps)], kind) < 1e-6, kind


def test_a_constant_error_of_v_weighs_as_alpha_bar_in_eps():
    schedule = make_schedule("linear", 1000)
    x0, eps, t = torch.zeros(2, 1, 4, 4), torch.ones(2, 1, 4, 4), torch.tensor([100, 700])
    wrong = target(schedule, x0, eps, t, "v") + 0.5
    expected = 0.25 * schedule.alphas_cumprod[t].mean().item()
    found = eps_mse(lambda x, t: wrong, schedule, [(x0, t, eps)], "v")
    assert abs(found - expected) < 1e-6


def test_the_noise_is_asked_for_at_the_noised_image():
    schedule = make_schedule("linear", 1000)
    x0, eps, t = torch.rand(3, 1, 4, 4), torch.rand(3, 1, 4, 4), torch.tensor([0, 500, 999])
    seen = []
    eps_mse(lambda x, t: seen.append(x) or x, schedule, [(x0, t, eps)], "eps")
    assert torch.equal(seen[0], q_sample(schedule, x0, t, eps))


def curve(*points: tuple[float, float]) -> Curve:
    found = [Point(minutes, 0, averaged=value + 1, raw=value) for minutes, value in points]
    return Curve("ours", 15, None, "fp32", 128, 100, done=True, points=found)


def test_a_curve_says_when_it_passed_a_value():
    ours = curve((1, 0.4), (2, 0.2), (4, 0.1))
    assert ours.after(2) == 0.2
    assert ours.minutes_until(0.3) == 1.5
    assert abs(ours.minutes_until(0.15) - 3) < 1e-9
    assert ours.minutes_until(0.5) == 1
    assert ours.minutes_until(0.05) is None


def test_all_images_come_equally_often():
    images = ImageSet(torch.arange(10, dtype=torch.uint8).reshape(10, 1, 1, 1), torch.arange(10))
    counts = repeated(images, 25).labels.bincount()
    assert counts.tolist() == [3] * 5 + [2] * 5


def test_the_clock_stops_at_every_mark_and_when_there_is_nothing_left():
    class Work:
        def __init__(self, rounds):
            self.left = rounds

        def go_on(self):
            sum(range(200_000))  # a few ms
            self.left -= 1
            return self.left > 0

    assert len(list(looks(Work(3), [1e-9, 1e9]))) == 2
    assert len(list(looks(Work(10**6), [1e-9, 2e-9, 1e-3]))) == 2  # one round passes the first two


def test_curves_of_other_configs_and_other_times_do_not_overwrite_each_other(tmp_path):
    plans = [Plan(tmp_path, 5), Plan(tmp_path, 15), Plan(tmp_path, 15, tmp_path / "mine.yaml"),
             Plan(tmp_path, 5, changes=("training.batch_size=64",))]  # fmt: skip
    assert [plan.curve("ours").name for plan in plans] == [
        "ours-5min.json", "ours-15min.json", "ours-mine-15min.json", "ours-training.batch_size=64-5min.json",
    ]  # fmt: skip
    assert plans[-1].words()[-2:] == ["--set", "training.batch_size=64"]


def row(unit: str, ours: float, peer: float | None) -> Row:
    return Row("sample", "16 images", unit, ours, peer, "diffusers")


def test_above_one_is_better_whatever_the_unit():
    assert row("s", 2.0, 6.0).ratio == 3
    assert row("images/s", 60.0, 20.0).ratio == 3
    assert row("eps-MSE", 0.02, 0.04).ratio == 2
    assert row("MB", 600, None).ratio is None
    assert Row("quality", "until ours passes", "min", None, 15.0).ratio is None


def test_a_measured_row_has_medians_and_the_ratios_of_its_rounds():
    found = Row.measured("sample", "16 images", "s", [1.0, 2.0, 4.0], [4.0, 4.0, 4.0], peer_name="diffusers")
    assert (found.ours, found.peer, found.ratio, found.n, found.spread) == (2.0, 4.0, 2.0, 3, (1.0, 4.0))
    alone = Row.measured("picture", "memory", "MB", [500, 700, 600])
    assert (alone.ours, alone.peer, alone.ratio, alone.spread) == (600, None, None, (500, 700))


def test_the_json_has_these_keys_and_the_table_a_line_a_row():
    rows = [row("s", 2.0, 6.0), row("MB", 612, None), Row("quality", "until", "min", None, 15.0, "diffusers")]
    expected = ["task", "row", "ours", "peer", "peer_name", "unit", "ratio", "n", "spread", "params_m", "gmac"]
    assert [list(one) for one in json.loads(json_text(rows))] == 3 * [[*expected, "peak_share"]]
    lines = table(rows).splitlines()
    assert len(lines) == 5
    assert len({line.count("|") for line in lines}) == 1
    assert "3.00 x" in lines[2]
    assert "never" in lines[4]


def test_everybody_takes_turns_and_the_first_round_is_not_counted():
    calls = []
    works = {name: partial(calls.append, name) for name in "abc"}
    seconds = interleaved(works, rounds=2)
    assert "".join(calls) == "abc" + "bca" + "cab"
    assert {name: len(found) for name, found in seconds.items()} == {"a": 2, "b": 2, "c": 2}


def test_the_options_choose_the_tasks():
    assert tasks_of(parse(["--quick"])) == ["sample", "digits", "train", "picture", "overhead"]
    assert tasks_of(parse(["--full"])) == [task for task in TASKS if task not in ("busy", "live")]
    assert tasks_of(parse(["--only", "busy"])) == ["busy"]
    assert tasks_of(parse(["--only", "quality", "--only", "sample"])) == ["sample", "quality"]
    with pytest.raises(SystemExit):
        parse(["--quick", "--full"])


@pytest.mark.slow
def test_ours_is_the_shipped_model():
    network = load_model("mnist").network
    assert OURS.params_m == sum(parameter.numel() for parameter in network.parameters()) / 1e6
    assert OURS.gmac > 0


@pytest.mark.slow
@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.key)
def test_a_peer_is_matched_within_ten_percent(peer):
    if peer.library == "lucidrains":
        pytest.importorskip("denoising_diffusion_pytorch", reason="make bench installs denoising-diffusion-pytorch")
    matched = peer.key.partition("-")[2]
    ratio = peer.params_m / OURS.params_m if matched == "params" else peer.gmac / OURS.gmac
    assert 0.9 <= ratio <= 1.1


def test_the_peers_are_pinned_as_the_tests_have_them():
    lines = {
        name: (ROOT / name).read_text().splitlines() for name in ("requirements-dev.txt", "benchmarks/requirements.txt")
    }
    of_diffusers = [[line for line in found if line.startswith("diffusers==")] for found in lines.values()]
    assert of_diffusers[0] == of_diffusers[1] != []


def test_a_dataset_that_is_not_here_is_told_in_one_line(monkeypatch):
    def rows(machine, quick):
        raise DataError("dataset mnist is not here")

    monkeypatch.setattr(overhead, "rows", rows)
    monkeypatch.setattr(machine, "this_machine", lambda: "a machine")
    with pytest.raises(SystemExit, match=r"^dataset mnist is not here$"):
        main(["--only", "overhead"])


def test_what_a_contender_draws_is_what_the_library_draws(random_model):
    model = random_model(schedule__num_timesteps=100)
    drawn = draw(lambda x, t: model.network(x, t, None), model.schedule, "v", (1, 8, 8), 3)
    settings = sampling_settings(model.config, sampler="ddim", num_steps=50)
    assert (drawn.int() - to_uint8(generate(model, 3, settings=settings)).int()).abs().max() <= 1


def test_every_row_of_the_ablations_changes_one_thing_of_the_first():
    base = ablations.config_of(ablations.ROWS["v, seed 0"]).model_dump()
    for name, changes in ablations.ROWS.items():
        sections = ablations.config_of(changes).model_dump()
        changed = {
            f"{section}.{field}"
            for section, values in sections.items()
            if isinstance(values, dict)
            for field in values
            if values[field] != base[section][field]
        }
        named = {change.partition("=")[0] for change in changes}
        assert changed <= named, name
        assert len(changed - {"training.warmup_steps", "training.seed"}) <= 1, name  # the warm-up stays a tenth


def test_several_seeds_are_told_with_their_spread():
    assert ablations.spread([1.0, 2.0, 6.0], 2) == "3.00 (1.00 to 6.00)"
