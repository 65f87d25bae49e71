"""Training on Hugging Face Jobs, by the real client against a Hub on loopback that runs the job's own command."""

import importlib.metadata
import io
import subprocess
import sys
import threading
import time

import PIL
import pytest
import torch
from PIL import Image

import ddpm
from ddpm.config import config_to_yaml, load_config
from ddpm.deploy import ending, hf_jobs, remote
from ddpm.deploy.remote import RemoteJob, told
from ddpm.deploy.run_repo import LATEST, STATUS, STOP
from ddpm.deploy.wheel import FILE_NAME, wheel
from ddpm.files import RunFolder
from ddpm.jobs import Status, read_status, write_status
from ddpm.training.run import Run
from tests.conftest import ROOT
from tests.hub_server import TOKEN, Fault
from tests.job_machine import Machine

ON = ("--on", "hf-jobs", "--flavor", "cpu-basic", "--yes")


@pytest.fixture
def signed_in(hub, monkeypatch):
    """A Hub with an account that may train; what takes minutes there takes a second."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(hf_jobs, "UPLOAD_EVERY", 1.0)
    monkeypatch.setattr(remote, "POLL", 1.0)
    return hub


@pytest.fixture
def config_file(tiny_config, tmp_path):
    def write(**changes):
        path = tmp_path / "job.yaml"
        path.write_text(config_to_yaml(tiny_config(name="job", **changes)))
        return path

    return write


def files_of(hub, repo="me/job") -> dict[str, bytes]:
    return hub.repos[repo].at("main")[1] if repo in hub.repos else {}


def when(condition, action) -> threading.Thread:
    """Do something as soon as a condition holds, beside the test."""

    def wait():
        deadline = time.monotonic() + 60
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.05)
        action()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


@pytest.mark.slow
def test_a_job_that_loses_its_machine_goes_on_and_ends_with_the_weights_of_an_uninterrupted_run(
    signed_in, cli, config_file, output_dir, tmp_path
):
    long = {"training__epochs": 5, "training__val_every": 10}
    path, folder = config_file(**long), RunFolder(output_dir / "job")
    killer = when(lambda: LATEST in files_of(signed_in), lambda: signed_in.jobs["job0"].kill())
    lost = cli("train", "--config", path, *ON)
    killer.join()
    assert lost.code == 1
    status = read_status(folder)
    assert (status.state, status.total_steps) == ("failed", 105)
    assert "validation loss" in status.error
    assert 0 < torch.load(folder.checkpoint("latest"), weights_only=True)["step"] < 105

    assert cli("train", "--config", path, *ON, "--resume").code == 0
    status = read_status(folder)
    assert (status.state, status.step, status.inexact) == ("finished", 105, ())
    assert [*signed_in.jobs] == ["job0", "job1"]
    log = folder.log.read_text()
    assert log.count("run job:") == 2  # that of both jobs, each line once
    steps = [line for line in folder.metrics.read_text().splitlines() if '"val_loss"' in line]
    assert len(steps) == len(set(steps)) == 11

    torch.set_num_threads(1)
    with Run(load_config(path), RunFolder(tmp_path / "whole")) as run:
        list(run.events())
    for kind in ("ema", "best"):
        here, whole = (
            torch.load(at.checkpoint(kind), weights_only=True)["ema"] for at in (folder, RunFolder(tmp_path / "whole"))
        )
        assert all(torch.equal(here[name], value) for name, value in whole.items())

    again = cli("train", "--config", path, *ON, "--resume")
    assert again.code == 1
    assert "run job is finished, at step 105 of 105" in again.err
    sent = [job.described for job in signed_in.jobs.values()]
    assert TOKEN not in repr(sent) + log + lost.out + lost.err + repr(files_of(signed_in).values())


@pytest.mark.slow
def test_images_of_ones_own_go_along_and_a_stopped_job_loses_nothing(signed_in, cli, config_file, output_dir, tmp_path):
    images = tmp_path / "images"
    for i in range(24):
        (images / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 10 * i).save(images / "ab"[i % 2] / f"{i}.png")
    data = {"dataset": "folder", "path": str(images), "image_size": 8, "val_fraction": 0.2}
    path = config_file(data=data, model__num_classes=2, training__epochs=5000, training__val_every=10**6)
    folder = RunFolder(output_dir / "job")
    started = cli("train", "--config", path, *ON, "--detach")
    assert started.code == 0, started.err
    assert "in the private dataset me/job-images" in started.err
    assert signed_in.repos["me/job"].private
    assert signed_in.repos["me/job-images"].private
    away = images.rename(tmp_path / "away")  # as on another machine

    assert "is being trained by http" in cli("train", "--config", path, "--resume").err
    stopper = when(lambda: read_status(folder).step > 0, lambda: ending.stop(folder))
    followed = cli("runs", "follow", "job")
    stopper.join()
    assert followed.code == 130
    status = read_status(folder)
    assert status.state == "stopped"
    assert signed_in.jobs["job0"].process.wait(60) == 0
    assert torch.load(folder.checkpoint("latest"), weights_only=True)["step"] == status.step > 0
    assert load_config(folder.config).data.class_names == ("a", "b")
    assert STOP in files_of(signed_in)
    assert away.is_dir()
    assert images.is_dir()  # the job unpacked them where its config has them


# -- what is refused, before anything is uploaded -------------------------------------------------------------------


def refused(cli, hub, *arguments) -> str:
    """The one line that a command ends with; nothing has been made on the Hub."""
    before = {name: repo.at("main")[0] for name, repo in hub.repos.items()}
    done = cli("train", *arguments)
    assert done.code == 1
    assert TOKEN not in done.out + done.err
    assert {name: repo.at("main")[0] for name, repo in hub.repos.items()} == before
    assert not hub.jobs
    return done.err.splitlines()[-1]


def test_what_is_missing_or_wrong_is_said_before_it_costs_anything(
    signed_in, cli, config_file, monkeypatch, output_dir
):
    path = config_file()
    known = "cpu-basic ($0.01 an hour), t4-small ($0.40 an hour)"
    arguments = ("--config", path, "--on", "hf-jobs", "--yes")
    assert known in refused(cli, signed_in, *arguments)
    assert f"--flavor t4-smal: name one of the machines that are offered, which are {known}" in refused(
        cli, signed_in, *arguments, "--flavor", "t4-smal"
    )
    start = "training.start_from is run:mine, which only this machine has: publish it with python -m ddpm push"
    assert start in refused(cli, signed_in, "--config", path, *ON, "--set", "training.start_from=run:mine")
    cuda = "training.device is cuda, which cpu-basic does not have"
    assert cuda in refused(cli, signed_in, "--config", path, *ON, "--set", "training.device=cuda")
    assert "nothing to resume" in refused(cli, signed_in, "--config", path, *ON, "--resume")
    signed_in.add("me/job", {"config.yaml": b"name: another\n"}, private=True)
    assert "me/job exists already: choose another --run or --repo" in refused(cli, signed_in, "--config", path, *ON)
    monkeypatch.setenv("DDPM_PUBLIC", "1")
    assert "Training on Hugging Face is off on this public page" in refused(cli, signed_in, "--config", path, *ON)
    monkeypatch.delenv("DDPM_PUBLIC")
    monkeypatch.delenv("HF_TOKEN")
    assert "needs a token with write access, which may start jobs" in refused(cli, signed_in, "--config", path, *ON)
    assert not output_dir.exists()


@pytest.mark.parametrize(
    ("pattern", "status", "said"),
    [
        ("POST /api/jobs/me", 402, "Hugging Face asks for a paid plan or for credit (why)"),
        ("GET /api/jobs/hardware", 404, "offers no jobs: check HF_ENDPOINT"),
        ("POST /api/jobs/me", 403, "the token may not do this (why)"),
    ],
)
def test_what_the_hub_refuses_leaves_nothing_behind(signed_in, cli, config_file, output_dir, pattern, status, said):
    signed_in.faults.append(Fault(pattern, status, "why"))
    assert said in refused(cli, signed_in, "--config", config_file(), *ON)
    assert not output_dir.exists()


def test_it_asks_before_it_starts_what_costs_money(signed_in, cli, config_file, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    done = cli("train", "--config", config_file(), *ON[:-1])
    assert done.code == 130
    assert "cpu-basic (2 vCPU, 16 GB, no GPU), $0.01 an hour" in done.err
    assert "4 h, then it ends: $0.04 at most" in done.err
    assert "Start it? [y/N]" in done.err
    assert not signed_in.jobs
    assert cli("train", "--config", config_file(), "--hours", "2").code == 2  # goes with --on


def test_a_run_has_the_state_of_its_job(tmp_path):
    job = RemoteJob(repo="me/job", id="1", namespace="me", url="https://hub/jobs/me/1", flavor="t4-small")
    folder = RunFolder(tmp_path)

    def seen(stage, reported=None, message=None):
        status = told(stage, message, reported, job, folder)
        assert (status.remote, status.pid) == (job.url, None)
        return status.state, status.doing, status.error

    going = Status(state="running", pid=7, step=5)
    assert seen("SCHEDULING") == ("running", "waiting for a machine (t4-small)", None)
    assert seen("RUNNING") == ("running", "installing the packages there", None)
    assert seen("RUNNING", going) == ("running", None, None)
    assert seen("COMPLETED", Status(state="finished")) == ("finished", None, None)
    assert seen("CANCELED", going) == ("stopped", None, None)
    assert seen("ERROR", going, "Job timeout") == ("failed", None, f"Job timeout (its job: {job.url})")
    assert seen("ERROR")[2] == f"its job ended as ERROR (its job: {job.url})"


def test_the_train_page_shows_the_price_and_starts_a_job(signed_in, open_page, output_dir, monkeypatch):
    monkeypatch.setattr(hf_jobs, "command", lambda *_: "sleep 60")  # the job itself is another test's
    app = open_page("pages/train.py")
    app.toggle(key="train_rent").set_value(True).run()
    assert app.selectbox(key="train_machine").options == ["cpu-basic: $0.01 an hour", "t4-small: $0.40 an hour"]
    app.number_input(key="train_hours").set_value(2.0)
    app.selectbox(key="train_machine").set_value("t4-small")
    app.button(key="train_plan").click().run()
    (told,) = (code.value for code in app.code if "machine:" in code.value)
    assert "$0.40 an hour" in told
    assert "2 h, then it ends: $0.80 at most" in told
    assert "me/digits, private" in told
    assert not signed_in.jobs
    app.button(key="train_rent_start").click().run()
    assert not app.exception
    assert signed_in.jobs["job0"].described["flavor"] == "t4-small"
    assert RemoteJob.of(RunFolder(output_dir / "digits")).repo == "me/digits"
    assert app.text_input(key="train_name").value == "digits-2", "the next one"
    app.number_input(key="train_hours").set_value(3.0).run()
    assert not [code for code in app.code if "machine:" in code.value], "the price of what was asked for before"
    signed_in.jobs["job0"].kill()


def test_the_train_page_says_what_a_job_needs(hub, open_page, monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    app = open_page("pages/train.py")
    app.toggle(key="train_rent").set_value(True).run()
    app.button(key="train_plan").click().run()
    assert any("hf auth login" in error.value for error in app.error)


@pytest.mark.slow
def test_the_train_page_follows_a_job_and_stops_it(signed_in, open_page, config_file, output_dir):
    told_so_far = Status(state="running", step=7, total_steps=9).model_dump_json().encode()
    signed_in.add("me/job", {STATUS: told_so_far})
    asked = {"command": ["bash", "-c", "echo hello; sleep 60"], "environment": {}, "secrets": {}, "dockerImage": "x"}
    signed_in.jobs["job0"] = machine = Machine(asked | {"flavor": "t4-small"}, "job0", "me")
    folder = RunFolder(output_dir / "job")
    folder.keep_config(config_file().read_text())
    job = RemoteJob(repo="me/job", id="job0", namespace="me", url=f"{signed_in.url}/jobs/me/job0", flavor="t4-small")
    job.keep(folder)
    write_status(folder, told("SCHEDULING", None, None, job, folder))

    app = open_page("pages/train.py")
    assert app.get("progress")[-1].proto.text == "waiting for a machine (t4-small)"
    when(lambda: read_status(folder).step == 7 and "hello" in folder.log_tail(1), lambda: None).join()
    app.run()
    assert "step 7 of 9" in app.get("progress")[-1].proto.text
    app.button(key="train_Stop_job").click().run()
    assert not app.exception
    assert STOP in files_of(signed_in)
    when(lambda: read_status(folder).doing == "stopping", lambda: None).join()
    app.button(key="train_Kill now_job").click().run()
    assert machine.stage == "CANCELED"
    when(lambda: read_status(folder).state == "stopped", lambda: None).join()
    assert read_status(folder).state == "stopped"


def test_the_wheel_is_one_that_pip_takes_and_holds_the_tracked_files(tmp_path):
    file = tmp_path / FILE_NAME
    file.write_bytes(wheel())
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", tmp_path / "there", file], check=True)
    there = {path.relative_to(tmp_path / "there").as_posix() for path in (tmp_path / "there" / "ddpm").rglob("*.*")}
    tracked = subprocess.run(["git", "ls-files", "ddpm"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert {name for name in there if not name.endswith(".pyc")} >= set(tracked.split())
    (about,) = importlib.metadata.distributions(path=[str(tmp_path / "there")])
    assert (about.name, about.version) == ("ddpm-lab", ddpm.__version__)
    assert f"pillow=={PIL.__version__}" in about.requires
    assert "torch==" + torch.__version__.partition("+")[0] in about.requires


def test_a_run_of_this_machine_is_not_followed(cli, tiny_run):
    done = cli("runs", "follow", "tiny")
    assert done.code == 1
    assert done.err == f"error: run tiny is of this machine, not of a job: its log is {tiny_run / 'logs/train.log'}\n"
