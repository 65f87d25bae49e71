"""Distillation: a student that takes the place of several steps of its teacher."""

import math
import re
from itertools import pairwise

import pytest
import torch

import ddpm
from ddpm.config import Config, SamplingConfig, load_config, sampling_settings
from ddpm.config.edit import config_to_yaml
from ddpm.diffusion import target
from ddpm.errors import ConfigError, DataError, ModelError
from ddpm.evaluation.evaluate import evaluate
from ddpm.evaluation.protocol import Protocol
from ddpm.files import RunFolder
from ddpm.jobs import read_status
from ddpm.media.model_card import write_model_folder
from ddpm.models import load_model
from ddpm.sampling import generate, sample
from ddpm.spacing import spaced_timesteps
from ddpm.training import queue
from ddpm.training.checkpoint import save_ema
from ddpm.training.events import Progress, Validated
from ddpm.training.loop import TrainState
from ddpm.training.objective import Distilling
from ddpm.training.preflight import check
from ddpm.training.run import Run
from ddpm.training.start import student_of
from ddpm.training.teacher import draw, teacher_of, trajectories_of
from ddpm.training.trajectories import Trajectories
from tests.conftest import ROOT
from tests.test_jobs import wait_for
from tests.test_training import same_weights

COUNTS = (1, 2, 4, 8)
SMALL = ["training.trajectories=88", "training.epochs=4", "training.batch_size=32", "training.warmup_steps=2",
         "training.val_every=4", "training.log_every=1", "training.ema_decay=0.9"]  # fmt: skip


def student(teacher: str = "digits", *overrides: str) -> Config:
    return student_of(teacher, "fast", "1,2,4,8", [*SMALL, *overrides])


def test_the_clean_image_that_is_asked_for_leads_a_ddim_step_to_where_the_teacher_arrived():
    config = student()
    walks, schedule = draw(load_model("digits"), config, range(11), lambda done: None), config.schedule.build()
    objective = Distilling(config, torch.device("cpu"))
    torch.manual_seed(0)
    asked = [objective.draw(walks) for _ in range(20)]
    for count, steps in ((count, spaced_timesteps(1000, count)) for count in COUNTS):
        place, met = COUNTS.index(count), 0
        for batch in asked:
            for k in (batch.n == place).nonzero().flatten().tolist():
                t = int(batch.t[k])
                after = dict(pairwise([*steps, -1]))[t]  # the student is asked at its own timesteps alone
                state = batch.x_t[k : k + 1]
                eps = ddpm.to_prediction(schedule, batch.x0[k : k + 1], state, torch.tensor([t]), "x0").eps
                a, s = math.sqrt(schedule.alpha_bar(after)), math.sqrt(1 - schedule.alpha_bar(after))
                landed = walks.states[k, (steps.index(t) + 1) * 8 // count].float()
                torch.testing.assert_close((a * batch.x0[k : k + 1] + s * eps)[0], landed, rtol=0, atol=2e-3)
                met += 1
        assert met > 30


def test_the_walks_are_those_of_the_guided_teacher_for_every_class_and_for_none():
    teacher, config = load_model("digits"), student()
    walks = draw(teacher, config, range(5, 16), lambda done: None)
    assert walks.labels.tolist() == [5, 6, 7, 8, 9, 10, 0, 1, 2, 3, 4]  # 10 is no class
    settings = sampling_settings(teacher.config, sampler="dpmpp_2m", num_steps=24, spacing="trailing")
    steps = [*sample(teacher, labels=[*range(10), -1], settings=settings, seed=0, indices=range(5, 16),
                     precision=config.training.precision)]  # fmt: skip
    assert settings.guidance_scale == 1.5
    kept = [step for step in steps if step.t in spaced_timesteps(1000, 8)] + steps[-1:]
    assert walks.states.shape == (11, 9, 1, 8, 8)
    assert torch.equal(walks.states, torch.stack([step.x_t.half() for step in kept], 1))


def test_a_student_begins_as_its_teacher_whatever_the_number_of_steps():
    config = student("digits", "training.trajectories=22", "training.val_every=100")
    begun, teacher = ddpm.train(config).model, load_model("digits")
    x, t, y = torch.randn(4, 1, 8, 8), torch.tensor([999, 749, 499, 0]), torch.tensor([0, 3, 9, 10])
    for place in range(len(COUNTS)):
        expected = teacher.network(x, t, y)
        torch.testing.assert_close(begun.network(x, t, y, torch.full((4,), place)), expected, rtol=0, atol=1e-5)


def test_a_constant_walk_is_learned_exactly():
    """A teacher that has gone straight: every step asks for the same clean image, and leaves nothing to learn."""
    config = student()
    objective, schedule = Distilling(config, torch.device("cpu")), config.schedule.build()
    x0, eps = torch.rand(6, 1, 8, 8) * 2 - 1, torch.randn(6, 1, 8, 8)
    times = [*spaced_timesteps(1000, 8), -1]
    states = torch.stack([math.sqrt(schedule.alpha_bar(t)) * x0 + math.sqrt(1 - schedule.alpha_bar(t)) * eps
                          for t in times], 1)  # fmt: skip
    asked = objective.held_out(Trajectories(states, torch.arange(6)), 0)
    torch.testing.assert_close(asked.x0, x0, rtol=0, atol=1e-4)

    def perfect(x_t, t, y, n):
        return target(schedule, x0, (x_t - schedule.scales(t, x_t)[0] * x0) / schedule.scales(t, x_t)[1], t, "v")

    assert objective.loss(perfect, asked).max() < 1e-6
    assert objective.zero_loss(asked).min() > 1e-3


@pytest.mark.slow
def test_a_student_learns_and_is_sampled_in_each_of_its_step_counts(output_dir):
    config = student("digits", "training.trajectories=165", "training.epochs=16", "training.learning_rate=1e-3")
    with Run(config, RunFolder.named("fast")) as run:
        events = list(run.events())
    losses = [event.val_loss for event in events if isinstance(event, Validated)]
    assert losses[-1] < 0.85 * losses[0]
    assert all(isinstance(band, float | None) for e in events if isinstance(e, Progress) for band in e.loss_by_t)
    model, teacher = load_model("run:fast"), load_model("digits")
    wanted = generate(teacher, 30, labels=list(range(10)), settings=teacher.config.sampling)
    plain = teacher.config.sampling.model_copy(update={"guidance_scale": 1.0})

    def error(model, settings) -> float:
        return (generate(model, 30, labels=list(range(10)), settings=settings) - wanted).square().mean().item()

    for count in COUNTS:
        few = {"num_steps": count}
        own = error(model, model.config.sampling.model_copy(update=few))
        assert own < 0.25, count
        if count <= 2:  # in so few steps the teacher itself draws a blur
            assert own < error(teacher, plain.model_copy(update=few)), count


@pytest.mark.slow
def test_a_distillation_resumes_exactly_in_the_midst_of_either_part(output_dir, monkeypatch):
    monkeypatch.setattr("ddpm.training.teacher.AT_ONCE", 22)
    told = []

    def stop(doing: str) -> None:
        told.append(doing)
        if len(told) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Run(student(), RunFolder.named("fast"), tell=stop):
        pass
    folder = RunFolder.named("fast")
    assert load_config(folder.config) == student()
    kept = {path: path.stat().st_mtime_ns for path in folder.trajectories.iterdir()}
    assert len(kept) == 2
    with pytest.raises(ModelError, match="the teacher of run fast has begun to draw: continue it with --resume"):
        Run(student(), folder).__enter__()

    again = []
    with Run(student(), folder, resume=True, tell=again.append) as run:
        stopping = run.events(lambda: run.state.step == 3)
        list(stopping)
    assert all(path.stat().st_mtime_ns == made for path, made in kept.items())
    assert again == [f"the teacher draws: {done} of 88" for done in (66, 88)]
    with Run(student(), folder, resume=True) as resumed:
        list(resumed.events())
    with Run(student(), RunFolder.named("whole")) as whole:
        list(whole.events())
    assert same_weights(resumed.state.model, whole.state.model)
    assert same_weights(resumed.state.ema.model, whole.state.ema.model)


@pytest.mark.slow
def test_what_a_teacher_has_drawn_is_not_lost_by_a_crash_before_the_first_checkpoint(output_dir):
    """It said that there was nothing to resume, and to delete it: the walks take longer than the training."""
    config, folder = student("digits", "training.val_every=100"), RunFolder.named("fast")
    with Run(config, folder) as run:
        for event in run.events():
            if isinstance(event, Progress):
                break
    walks = {path: path.stat().st_mtime_ns for path in folder.trajectories.iterdir()}
    assert folder.metrics.exists()
    assert not folder.checkpoint("latest").exists()
    with Run(config, folder, resume=True) as resumed:
        list(resumed.events())
    assert {path: path.stat().st_mtime_ns for path in folder.trajectories.iterdir()} == walks
    with Run(config, RunFolder.named("whole")) as whole:
        list(whole.events())
    assert same_weights(resumed.state.ema.model, whole.state.ema.model)


@pytest.mark.slow
def test_walks_of_another_teacher_are_not_learned_from(tiny_run, tmp_path):
    config = student()
    trajectories_of(teacher_of(config), config, tmp_path)
    other = load_model("run:tiny")
    with pytest.raises(ModelError, match=r"digits is not the teacher that drew .*, or training.trajectories was"):
        trajectories_of(other, config, tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_steps": 3}, r"sampling\.num_steps:? must be 1, 2, 4 or 8 for a model .* got 3"),
        ({"sampler": "heun"}, r"sampling\.sampler:? must be ddim"),
        ({"spacing": "leading"}, r"sampling\.spacing:? must be trailing"),
        ({"guidance_scale": 2.0}, r"sampling\.guidance_scale:? must be 1 for a model .* guidance included; got 2"),
    ],
)
def test_a_student_is_not_sampled_in_a_way_that_it_has_not_learned(random_model, changes, message):
    model = random_model(model__step_counts=[1, 2, 4, 8], sampling__num_steps=4, sampling__guidance_scale=1)
    settings = SamplingConfig(num_steps=4).model_copy(update=changes)
    with pytest.raises(ConfigError, match=message):
        sample(model, 2, settings=settings)
    values = model.config.model_dump(mode="json")
    values["sampling"] |= changes
    with pytest.raises(ConfigError, match=message):
        Config.from_values(values, "x")


def test_what_else_a_student_refuses(random_model, tiny_config):
    model = random_model(model__step_counts=[1, 2, 4, 8], sampling__num_steps=4, sampling__guidance_scale=1)
    with pytest.raises(ConfigError, match="random model takes no guidance: that of its teacher is built in"):
        sample(model, 2, labels=[1], guidance=2.0)
    with pytest.raises(ConfigError, match="is distilled: in 4 steps it can start at 19, 14, 9 or 4, not at 10"):
        sample(model, 1, init=torch.zeros(1, 1, 8, 8), start=10)
    with pytest.raises(ConfigError, match="random model draws in 1, 2, 4 or 8 steps, got num_steps None"):
        model.denoiser()
    with pytest.raises(DataError, match="a distillation takes no images"):
        ddpm.train(student(), ddpm.ImageSet.from_arrays(torch.zeros(8, 8, 8, dtype=torch.uint8)))
    for counts, message in (
        ([4, 2], "rising"),
        ([0, 1], "from 1 to 64"),
        ([7, 9, 11], "common multiple of at most 64"),
    ):
        with pytest.raises(ConfigError, match=message):
            tiny_config(model__step_counts=counts)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["training.start_from=null"], "no teacher is named, such as mnist or run:NAME"),
        (["training.start_from=mnist"], "mnist has a network of another"),
        (["schedule.name=cosine"], "digits has another schedule, and a student shares its teacher's"),
        (["diffusion.prediction_type=x0"], "digits predicts v, and diffusion.prediction_type is x0"),
        (["model.step_counts=[]", "sampling.num_steps=4"], None),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused_before_it_draws(output_dir, overrides, message):
    config = student("digits", *overrides)
    faults = [finding for finding in check(config) if finding.kind == "fault"]
    if message is None:
        assert not faults
        return
    assert message in faults[0].text
    if config.training.start_from:
        with pytest.raises(ConfigError, match=message), Run(config, RunFolder.named("fast")):
            pass
        assert not RunFolder.named("fast").path.exists()


@pytest.mark.slow
def test_a_launched_distillation_is_stopped_while_its_teacher_draws_and_resumed(tiny_run, open_page, monkeypatch):
    """It was started again without --resume, and refused itself."""
    config = student("run:tiny", "training.trajectories=800", "training.epochs=1", "model.step_counts=[1, 2]",
                     "sampling.num_steps=2")  # fmt: skip
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    folder = queue.launch(config)
    wait_for(lambda: folder.trajectories.is_dir() and list(folder.trajectories.glob("*.safetensors")))
    assert re.fullmatch(r"the teacher draws: [\d,]+ of 800", read_status(folder).doing)
    queue.stop(folder)
    wait_for(lambda: read_status(folder).state == "stopped")
    assert not folder.checkpoint("latest").exists()
    page = open_page("pages/train.py")
    assert [button.label for button in page.button if button.label == "Resume"]
    assert any("Its teacher has begun to draw" in caption.value for caption in page.caption)
    queue.launch(config, resume=True)
    wait_for(lambda: read_status(folder).state in ("finished", "failed"), 300)
    assert (read_status(folder).state, read_status(folder).error) == ("finished", None)


def test_the_preset_is_what_the_command_trains():
    preset = load_config(ROOT / "configs" / "mnist-fast.yaml")
    assert preset == student_of("mnist", "mnist-fast", "1,2,4,8", [])
    (note,) = check(preset)
    assert (note.field, note.kind) == ("training.trajectories", "note")
    assert "draws 12,288 images first, 34 evaluations each, which takes as long as 2,176 steps" in note.text


@pytest.mark.slow
def test_the_command_makes_a_student_that_the_other_commands_know(output_dir, run_cli):
    done = run_cli("distill", "--teacher", "digits", "--steps", "1,2", *(x for s in SMALL for x in ("--set", s)))
    assert done.returncode == 0, done.stderr
    assert "of 88" in done.stdout or "done in" in done.stdout
    config = load_config(RunFolder.named("digits-fast").config)
    assert (config.model.step_counts, config.sampling.num_steps, config.training.start_from) == ((1, 2), 2, "digits")
    drawn = run_cli("sample", "grid", "--model", "run:digits-fast", "--num-samples", "4", "--out", "x.png")
    assert drawn.returncode == 0, drawn.stderr
    refused = run_cli("distill", "--teacher", "run:digits-fast", "--run", "again")
    assert refused.returncode == 1
    assert "is distilled itself" in refused.stderr


@pytest.mark.slow
def test_a_student_is_judged_in_all_its_step_counts_and_has_no_calibration(random_model, tmp_path):
    model = random_model(model__step_counts=[1, 4], sampling__num_steps=4, sampling__guidance_scale=1)
    path = model.save(tmp_path / "student")
    student = load_model(str(path.parent))
    *_, done = evaluate(student, Protocol(student.config.sampling, 20, all_methods=True))
    assert [name for name in done.results if name.startswith("ddim")] == ["ddim_1steps", "ddim_4steps"]
    assert [done.results[f"ddim_{n}steps"]["network_evaluations"] for n in (1, 4)] == [1, 4]
    assert "a distilled model predicts the end of its teacher's way" in done.results["calibration"]["unavailable"]


@pytest.mark.slow
def test_a_student_is_published_and_reported_like_others(output_dir, tiny_config, tmp_path, run_cli):
    config = tiny_config(model__step_counts=[1, 2], sampling__num_steps=2, sampling__guidance_scale=1)
    folder = RunFolder.named("student")
    save_ema(TrainState(config), folder.checkpoint("ema"))
    folder.keep_config(config_to_yaml(config))
    write_model_folder("run:student", tmp_path / "hub", "someone/student")
    assert load_model(str(tmp_path / "hub")).config.model.step_counts == (1, 2)
    card = (tmp_path / "hub" / "README.md").read_text()
    assert "2 steps" in card
    done = run_cli("report", "--run", "student")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_pages_offer_what_a_student_has_learned(output_dir, tiny_config, open_page):
    config = tiny_config(model__step_counts=[1, 2, 4, 8], sampling__num_steps=4, sampling__guidance_scale=1)
    folder = RunFolder.named("student")
    save_ema(TrainState(config), folder.checkpoint("ema"))
    folder.keep_config(config_to_yaml(config))
    app = open_page("pages/playground.py", play_model="run:student", play_steps="2")
    assert app.select_slider(key="play_steps").options == ["1", "2", "4", "8"]
    assert app.select_slider(key="play_steps").value == 2
    assert not [w for w in app.selectbox if w.key in ("play_sampler", "play_spacing")]
    assert not [w for w in app.slider if w.key in ("play_guidance", "play_interval")]
    assert app.metric[1].value == str(2 * 10)
    ladder = open_page("pages/ladder.py", ladder_model="run:student")
    assert "A distilled model knows one sampler" in ladder.info[0].value
