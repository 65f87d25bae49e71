"""The command line as a user types it: exit codes, one clear line on stderr, and files that hold what was asked."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm.config import load_config
from ddpm.media.schedule_figures import steps_chart
from ddpm.models import load_model
from ddpm.quantities import duration
from ddpm.sampling import generate
from ddpm.training import queue
from tests.conftest import ROOT, TINY


@pytest.fixture
def tiny_yaml(tmp_path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(json.dumps(TINY))  # JSON is YAML
    return path


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def open_image(path) -> Image.Image:
    return Image.open(io.BytesIO(Path(path).read_bytes()))


def one_error_line(result, code: int) -> str:
    assert result.code == code
    assert "Traceback" not in result.err
    lines = [line for line in result.err.splitlines() if line.lower().startswith("error")]
    assert len(lines) == 1
    assert result.err.rstrip().endswith(lines[0])
    return lines[0]


# -- sampling ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_sample_grid_writes_the_images_of_the_library(cli, tiny_run):
    options = "--num-samples 7 --labels 3,-1 --seed 5 --num-steps 4 --guidance-scale 2 --out a/x.png --npz a/x.npz"
    result = cli("sample", "grid", "--model", "tiny", *options.split())
    assert result.code == 0, result.err
    assert result.out.split() == ["a/x.png", "a/x.npz"]
    archive = np.load("a/x.npz", allow_pickle=False)
    assert archive["labels"].tolist() == [3, -1, 3, -1, 3, -1, 3]
    model = load_model("tiny")
    settings = model.config.sampling.model_copy(update={"num_steps": 4, "guidance_scale": 2.0})
    expected = generate(model, 7, labels=[3, -1], settings=settings, seed=5)
    expected = ((expected + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    assert np.abs(archive["images"].astype(int) - expected).max() <= 2
    picture = np.asarray(open_image("a/x.png"))
    factor = picture.shape[1] // (2 + 3 * 10)  # 7 images: three columns of 8 pixels and a gap of 2
    shown = picture[factor // 2 :: factor, factor // 2 :: factor]
    assert np.array_equal(shown[2:10, 12:20], archive["images"][1, :, :, 0])


@pytest.mark.slow
def test_labels_are_all_in_turn_by_default_and_none_is_unconditional(cli, tiny_run):
    assert cli("sample", "grid", "--model", "tiny", "--num-samples", 12, "--npz", "all.npz").code == 0
    assert np.load("all.npz")["labels"].tolist() == [*range(10), 0, 1]
    assert cli("sample", "grid", "--model", "tiny", "--num-samples", 2, "--labels", "none", "--npz", "no.npz").code == 0
    assert np.load("no.npz")["labels"].tolist() == [-1, -1]


def test_the_default_picture_lies_in_the_runs_folder(cli, tiny_run):
    result = cli("sample", "grid", "--model", "run:tiny", "--num-samples", 2, "--seed", 9)
    assert result.out.strip() == str(tiny_run / "grids" / "samples_2_ddim_5steps_seed9.png")
    assert open_image(result.out.strip()).format == "PNG"
    assert "model: run 'tiny' (" in result.err


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ("sample.grid", "--config", "YAML", "--num_samples", 3),
        ("sample", "grid", "--config", "YAML", "--num-samples", 3),
        ("sample.grid", "--model", "tiny", "--num_samples", 3, "--method", "ddpm", "--steps", 2),
        ("sample.grid", "--model", "tiny", "--num_samples", 3, "--guidance", "1.5", "--batch_size", 2),
        ("sample.traj", "--config", "YAML", "--method", "ddim", "--num_steps", 4, "--num_samples", 2),
        ("sample.traj", "--model", "run:tiny", "--sampler", "ddpm", "--steps", 2, "--num-samples", 2, "--fps", 5),
    ],
)
def test_the_seed_reports_lines_and_every_alias_work(cli, tiny_run, tiny_yaml, arguments):
    result = cli(*(tiny_yaml if argument == "YAML" else argument for argument in arguments))
    assert result.code == 0, result.err
    assert Path(result.out.strip()).is_file()


@pytest.mark.slow
def test_aliases_are_the_same_options(cli, tiny_run):
    new = ("--sampler", "ddpm", "--num-steps", 3, "--guidance-scale", 2)
    old = ("--method", "ddpm", "--steps", 3, "--guidance", 2)
    for name, options in (("new", new), ("old", old)):
        assert cli("sample.grid", "--model", "tiny", "--num-samples", 2, *options, "--npz", f"{name}.npz").code == 0
    assert np.array_equal(np.load("new.npz")["images"], np.load("old.npz")["images"])


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["gif", "mp4", "png"])
def test_sample_traj_writes_what_the_suffix_says(cli, tiny_run, suffix, decode_mp4):
    out = f"deep/folder/way.{suffix}"
    assert cli("sample", "traj", "--model", "tiny", "--num-samples", 2, "--num-steps", 6, "--out", out).code == 0
    if suffix == "mp4":
        assert len(decode_mp4(Path(out).read_bytes())[0]) == 7 + 24
    else:
        image = open_image(out)
        assert (image.format, getattr(image, "n_frames", 1)) == (suffix.upper(), 7 if suffix == "gif" else 1)
    assert files_in(Path("deep")) == {f"folder/way.{suffix}"}


@pytest.mark.slow
@pytest.mark.parametrize("columns", [("--steps", "5,10"), ("--budgets", "5,10")])
def test_sample_ladder_prints_a_table_and_writes_a_chart(cli, tiny_run, columns):
    result = cli("sample", "ladder", "--model", "tiny", "--num-samples", 2, *columns, "--out", "ladder.png")
    assert result.code == 0
    rows = [line for line in result.out.splitlines() if re.match(r"\| (DDPM|DDIM|Heun|DPM-Solver)", line)]
    assert len(rows) == 8
    heun = next(row for row in rows if row.startswith("| Heun | 5 |"))
    assert "| 9 |" in heun or "| 18 |" in heun  # twice that under guidance
    assert open_image("ladder.png").format == "PNG"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--steps", "5", "--budgets", "5"), 2, "give either --steps or --budgets"),
        (("--budgets", "0"), 1, "a budget must be 1 to 20 evaluations, got 0"),
        (("--steps", "x"), 1, "--steps takes numbers such as 0,1,66, got 'x'"),
    ],
)
def test_bad_columns_of_a_ladder(cli, tiny_run, arguments, code, message):
    result = cli("sample", "ladder", "--model", "tiny", *arguments)
    assert (result.code, message in result.err) == (code, True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--labels", "10"), "--labels: there is no class '10': did you mean '1'? valid are '0', '1', '2', '3'"),
        (("--labels", "1,-2"), "--labels: there is no class '-2': did you mean '2'? valid are '0'"),
        (("--labels", "one"), "--labels: there is no class 'one': valid are '0', '1'"),
        (("--num-steps", 21), "sampling.num_steps: must be at most schedule.num_timesteps (20), got 21"),
        (("--num-steps", 0), "sampling.num_steps: must be greater than or equal to 1, got 0"),
        (("--eta", 2), "sampling.eta: must be less than or equal to 1, got 2.0"),
        (("--guidance-interval", 9, 3), "sampling.guidance_interval: must be two timesteps, the first from 0"),
        (("--indices", "0,x"), "--indices takes numbers such as 0,1,66, got '0,x'"),
        (("--indices", "3,-1"), "--indices counts from 0, got -1"),
        (("--eta", "nan"), "sampling.eta: must be"),
        (("--guidance-scale", -1), "sampling.guidance_scale: must be greater than or equal to 0"),
        (("--device", "cuda:77"), "device 'cuda:77' is not available here: use auto, cpu, cuda, cuda:N or mps"),
        (("--device", "gpu"), "device 'gpu' is not available here"),
    ],
)
@pytest.mark.parametrize("command", ["grid", "traj"])
def test_bad_values_exit_1_and_leave_nothing(cli, tiny_run, tmp_path, command, arguments, message):
    before = files_in(tmp_path)
    result = cli("sample", command, "--model", "tiny", "--num-samples", 2, *arguments)
    assert message in one_error_line(result, 1)
    assert files_in(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sample", "grid"), "name a model: either --model REF or --config FILE"),
        (
            ("sample", "grid", "--model", "tiny", "--config", "x.yaml"),
            "name a model: either --model REF or --config FILE",
        ),
        (("sample", "grid", "--model", "tiny", "--sampler", "dim"), "'dim' is not one of 'ddpm', 'ddim'"),
        (
            ("sample", "grid", "--model", "tiny", "--spacing", "x"),
            "'x' is not one of 'leading', 'linspace', 'trailing', 'quadratic'",
        ),
        (("sample", "grid", "--model", "tiny", "--num-samples", "0"), "0 is not in the range x>=1"),
        (("sample", "grid", "--model", "tiny", "--num-steps", "many"), "'many' is not a valid integer"),
        (("sample", "gird"), "No such command 'gird'"),
        (("sample.gird",), "No such command 'gird'"),
        (("sample", "grid", "--modle", "tiny"), "No such option"),
        (("train",), "Missing option '--config'"),
    ],
)
def test_wrong_usage_exits_2(cli, tiny_run, tmp_path, arguments, message):
    before = files_in(tmp_path)
    result = cli(*arguments)
    assert message in one_error_line(result, 2)
    assert files_in(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "tinny"), "error: unknown model 'tinny': did you mean 'run:tiny'"),
        (("--model", "no/where"), "error: no model at no/where: expected a run folder"),
        (("--config", "no.yaml"), "error: config no.yaml cannot be read: No such file or directory"),
    ],
)
def test_an_unknown_model_or_config_exits_1(cli, tiny_run, arguments, message):
    assert one_error_line(cli("sample", "grid", *arguments), 1).startswith(message)


@pytest.mark.parametrize(
    ("command", "option", "name"),
    [
        ("traj", "--out", "x.avi"),
        ("traj", "--out", "x"),
        ("grid", "--out", "x.gif"),
        ("grid", "--out", "x"),
        ("grid", "--npz", "x.zip"),
    ],
)
def test_a_wrong_suffix_is_refused_before_anything_is_sampled(cli, tiny_run, tmp_path, command, option, name):
    before = files_in(tmp_path)
    result = cli("sample", command, "--model", "tiny", "--num-samples", 2, option, name)
    assert f"{option} {name}: expected a name that ends in ." in one_error_line(result, 1)
    assert files_in(tmp_path) == before


@pytest.mark.slow
def test_an_output_that_cannot_be_written_is_named(cli, tiny_run, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.png").mkdir()
    before = files_in(tmp_path)
    for out in ("file/x.png", "folder.png"):
        result = cli("sample", "grid", "--model", "tiny", "--num-samples", 2, "--out", out)
        assert out.split("/")[0] in one_error_line(result, 1)
        assert files_in(tmp_path) == before


def test_a_damaged_model_exits_1(cli, tiny_run):
    file = tiny_run / "ckpts" / "ema.pt"
    file.write_bytes(file.read_bytes()[:1000])
    assert one_error_line(cli("sample", "grid", "--model", "tiny"), 1).startswith(
        f"error: checkpoint {file} is damaged"
    )


# -- training ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_train_makes_a_run_that_can_be_sampled_and_resumed(cli, tiny_yaml, output_dir):
    arguments = (
        "train",
        "--config",
        tiny_yaml,
        "--run",
        "mine",
        "--set",
        "training.epochs=1",
        "--set",
        "training.seed=3",
    )
    result = cli(*arguments)
    assert result.code == 0, result.err
    assert "run mine: 1,350 training and 150 validation images" in result.out
    assert "python -m ddpm sample grid --model run:mine" in result.out
    run = output_dir / "mine"
    assert "seed: 3" in (run / "config.yaml").read_text()
    assert open_image(run / "grids" / "step_000021.png").format == "PNG"
    assert one_error_line(cli(*arguments), 1).endswith("continue it with --resume or choose another --run")
    more = cli("train", "--config", tiny_yaml, "--run", "mine", "--resume", "--set", "training.epochs=2")
    assert more.code == 0, more.err
    steps = [json.loads(line)["step"] for line in (run / "logs/training_metrics.jsonl").read_text().splitlines()]
    assert max(steps) == 42
    assert "run:mine" in cli("models").out.split()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--set", "training.epoch=6"), "training.epoch: unknown key 'epoch': did you mean 'epochs'?"),
        (("--set", "training.epochs"), "--set takes section.field=value, got 'training.epochs'"),
        (("--set", "model.attention_resolutions=[3]"), "model.attention_resolutions: this model has no 3x3 level"),
        (("--set", "data.image_size=9"), "data.image_size: 9 must be divisible by 2"),
        (("--set", "schedule.num_timesteps=1"), "schedule.num_timesteps: must be greater than or equal to 2"),
        (("--set", "data.dataset=minst"), "data.dataset: did you mean 'mnist'? must be 'digits', 'mnist'"),
        (("--set", "training.precision=fp16"), "precision fp16 needs a CUDA device"),
        (("--set", "training.device=tpu"), "device 'tpu' is not available here"),
        (("--run", "../up"), "name: must be 1 to 64 of"),
        (("--resume",), "nothing to resume: "),
        (
            ("--set", "data.dataset=folder", "--set", "data.path=nowhere", "--set", "model.num_classes=0"),
            "nowhere is not a folder",
        ),
    ],
)
def test_train_refuses_bad_configs_and_leaves_nothing(cli, tiny_yaml, tmp_path, output_dir, arguments, message):
    before = files_in(tmp_path)
    assert message in one_error_line(cli("train", "--config", tiny_yaml, *arguments), 1)
    assert files_in(tmp_path) == before


@pytest.mark.slow
@pytest.mark.parametrize("name", ["2024", "no", "1e3", "null"])
def test_a_run_is_called_what_run_says(cli, tiny_yaml, output_dir, name, monkeypatch):
    done = cli("train", "--config", tiny_yaml, "--run", name, "--set", "training.batch_size=1350")
    assert done.code == 0, done.err
    assert load_config(output_dir / name / "config.yaml").name == name
    # As a page starts it: with the name of its folder behind --run.
    commands = []
    monkeypatch.setattr(queue, "start", lambda folder, status, arguments: commands.append(arguments))
    longer = load_config(output_dir / name / "config.yaml", ["training.epochs=2"])
    folder = queue.launch(longer, resume=True)
    assert cli(*commands[0]).code == 0
    assert folder.path.name == name


def test_two_faults_are_both_told_without_a_traceback(cli, tiny_yaml):
    result = cli("train", "--config", tiny_yaml, "--set", "training.epochs=0", "--set", "training.batch_size=0")
    assert result.code == 1
    assert "training.epochs" in result.err
    assert "training.batch_size" in result.err


# -- figures and help ----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_viz_schedules_draws_them(cli, suffix):
    result = cli("viz.schedules", "--schedules", "linear,cosine", "--num_timesteps", 50, "--out", f"s.{suffix}")
    assert result.code == 0, result.err
    assert result.out.split() == [f"s.{suffix}", f"s_steps.{suffix}", f"s_noised.{suffix}"]
    for name in result.out.split():
        content = Path(name).read_bytes()
        assert {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[suffix] == content[: 5 if suffix == "svg" else 4]


@pytest.mark.slow
def test_viz_schedules_draws_variants_over_log_snr_on_an_image_of_ones_own(cli):
    Image.effect_noise((40, 30), 60).save("mine.png")
    schedules = "cosine:cosine_s=0.02,linear:zero_terminal_snr=true,linear:num_timesteps=30"
    result = cli("viz", "schedules", "--schedules", schedules, "--over", "log_snr", "--spacing", "leading",
                 "--image", "mine.png", "--out", "s.png")  # fmt: skip
    assert result.code == 0, result.err


@pytest.mark.slow
def test_viz_schedules_draws_the_schedule_of_a_config(cli, tiny_yaml, monkeypatch):
    drawn = []

    def seen(drawing, steps, *rest):
        drawn.append((drawing, steps))
        return steps_chart(drawing, steps, *rest)

    monkeypatch.setattr("ddpm.media.schedule_figures.steps_chart", seen)
    assert cli("viz", "schedules", "--config", tiny_yaml, "--out", "s.png").code == 0
    ((line,), steps) = drawn.pop()
    assert torch.equal(line.schedule.alphas_cumprod, load_config(tiny_yaml).schedule.build().alphas_cumprod)
    assert steps == 5
    assert cli("viz", "schedules", "--config", tiny_yaml, "--schedules", "cosine", "--out", "s.png").code == 0
    assert [line.schedule.num_timesteps for line in drawn.pop()[0]] == [20, 20]
    assert cli("viz", "schedules", "--config", tiny_yaml, "--num-timesteps", 9, "--out", "s.png").code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--schedules", "linear,cosin"), "error: unknown schedule 'cosin': did you mean 'cosine'?"),
        (("--schedules", "cosine:cosine_s=2"), "error: cosine:cosine_s=2: schedule.cosine_s: must be less than or"),
        (("--num-timesteps", 1), "error: linear: schedule.num_timesteps: must be greater than or equal to 2"),
        (("--num-timesteps", 0), "error: linear: schedule.num_timesteps: must be greater than or equal to 2"),
        (("--config", "none.yaml"), "error: config none.yaml cannot be read: No such file or directory"),
        (("--num-steps", 2000), "error: num_steps must be between 1 and the model's 1000 timesteps, got 2000"),
        (("--image", "none.png"), "error: none.png cannot be read as an image: "),
        (("--out", "x.bmp"), "error: --out x.bmp: expected a name that ends in .png, .svg or .pdf"),
    ],
)
def test_viz_schedules_names_what_is_wrong(cli, tmp_path, arguments, message):
    assert one_error_line(cli("viz", "schedules", *arguments), 1).startswith(message)
    assert files_in(tmp_path) == set()


# -- evaluation ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_seed_reports_line_evaluates_every_method(cli, tiny_run, tiny_yaml):
    result = cli("eval", "--config", tiny_yaml, "--all_methods", "--num_samples", 12)
    assert result.code == 0, result.err
    assert result.out.strip() == str(tiny_run / "logs" / "evaluation_results.json")
    results = json.loads(Path(result.out.strip()).read_text())
    assert {"calibration", "ddim_5steps", "ddim_10steps", "ddim_20steps", "ddpm_20steps", "made_by"} <= results.keys()
    assert results["made_by"]["guidance_scale"] == 1.0  # the headline, whatever the model's own setting
    assert " left] " in result.err
    again = cli("eval", "--config", tiny_yaml, "--all_methods", "--num_samples", 12)
    assert again.err.count("(kept from the earlier result)") == len(results) - 1


@pytest.mark.slow
def test_eval_takes_the_sampler_and_the_guidance_that_are_given(cli, tiny_run):
    options = "--sampler ddpm --num-steps 4 --guidance-scale 2 --num-samples 10 --seed 3 --per-class --out a/b.json"
    assert cli("eval", "--model", "tiny", *options.split()).out == "a/b.json\n"
    results = json.loads(Path("a/b.json").read_text())
    assert results["ddpm_4steps"]["made_by"]["settings"]["guidance_scale"] == 2.0
    assert results["ddpm_4steps"]["made_by"]["seed"] == 3
    assert len(results["calibration"]["per_class"]) == 10


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--model", "tiny", "--labels", "1"), 2, "eval takes no --labels: it asks for every class equally often"),
        (("--num-samples", "5"), 2, "name a model: either --model REF or --config FILE"),
        (("--model", "tiny", "--num-samples", "1"), 2, "1 is not in the range x>=2"),
        (("--model", "tiny", "--num-steps", "21"), 1, "sampling.num_steps: must be at most"),
        (("--model", "nothing"), 1, "unknown model 'nothing'"),
    ],
)
def test_eval_names_what_is_wrong(cli, tiny_run, tmp_path, arguments, code, message):
    before = files_in(tmp_path)
    assert message in one_error_line(cli("eval", *arguments), code)
    assert files_in(tmp_path) == before


@pytest.mark.slow
def test_report_writes_markdown_and_html(cli, tiny_run):
    result = cli("report", "--run", "tiny", "--out", "there")
    assert result.out.split() == ["there/report.md", "there/report.html"]
    assert "# tiny: report" in Path("there/report.md").read_text()
    assert cli("report", "--model", "run:tiny").out.split()[0] == str(tiny_run / "report" / "report.md")
    assert "either --run NAME or --model REF" in one_error_line(cli("report"), 2)
    assert one_error_line(cli("report", "--run", "tinny"), 1).startswith("error: unknown model 'run:tinny'")


@pytest.mark.parametrize(
    "command",
    [
        (),
        ("sample",),
        ("sample", "grid"),
        ("sample.traj",),
        ("train",),
        ("viz",),
        ("models",),
        ("eval",),
        ("report",),
    ],
)
def test_every_command_has_help(cli, command):
    result = cli(*command, "--help")
    assert result.code == 0
    assert result.out.startswith("Usage: python -m ddpm")


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (61, "1:01"), (3725, "1:02:05")])
def test_duration(seconds, text):
    assert duration(seconds) == text


# -- true processes ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_as_a_process_it_exits_0_and_says_nothing_but_the_file_on_stdout(run_cli, tiny_run, tmp_path):
    result = run_cli("sample.grid", "--model", "tiny", "--num_samples", 2, "--out", "x.png")
    assert (result.returncode, result.stdout) == (0, "x.png\n")
    assert open_image(tmp_path / "x.png").format == "PNG"


@pytest.mark.slow
def test_as_a_process_it_exits_130_when_interrupted_and_leaves_no_temporary_file(tiny_yaml, output_dir, tmp_path):
    command = [sys.executable, "-m", "ddpm", "train", "--config", str(tiny_yaml), "--set", "training.epochs=1000"]
    metrics = output_dir / "tiny" / "logs" / "training_metrics.jsonl"
    with subprocess.Popen(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        deadline = time.monotonic() + 60
        while not metrics.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        stderr = process.communicate(timeout=30)[1]
    assert process.returncode == 130
    assert stderr.splitlines()[-1].startswith("interrupted; saved at step ")
    assert [name for name in files_in(output_dir) if Path(name).name.startswith(".")] == ["tiny/.lock"]


@pytest.mark.slow
def test_the_sampler_of_the_docs_reaches_the_command_line(run_cli, tmp_path, monkeypatch):
    page = (ROOT / "docs" / "extending.md").read_text()
    example = re.search(r"## A sampler\n.*?```python\n(.*?)```", page, re.S)[1]
    (tmp_path / "mine.py").write_text(example)
    done = run_cli("--import", "mine", "sample", "grid", "--model", "digits", "--sampler", "cold", "--num-steps", "10",
                   "--num-samples", "4", "--out", "cold.png")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert open_image(tmp_path / "cold.png").format == "PNG"


def test_curves_are_drawn_of_a_run_by_its_name(cli, tiny_run):
    done = cli("viz", "curves", "--run", "tiny")
    assert done.code == 0
    assert (tiny_run / "curves").is_dir()
    assert cli("viz", "curves").code == 2
    assert "nowhere" in cli("viz", "curves", "--run", "nowhere").err


def test_samples_alone_are_judged_without_the_calibration(cli, tiny_run, tmp_path):
    assert cli("eval", "--model", "run:tiny", "--num-samples", "12", "--samples-only", "--out", "e.json").code == 0
    assert json.loads((tmp_path / "e.json").read_text()).keys() == {"made_by", "ddim_5steps"}
