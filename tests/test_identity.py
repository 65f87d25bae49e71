"""A run and its images: what it keeps of them, and what it says when they have changed."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import streamlit as st
import torch
from PIL import Image

from ddpm import jobs
from ddpm.config import config_from_dict, config_to_yaml, load_config
from ddpm.errors import ConfigError, DataError, ModelError
from ddpm.evaluation.evaluate import Protocol, StageDone, evaluate
from ddpm.evaluation.real_images import RealImages
from ddpm.files import RunFolder
from ddpm.image_folder.manifest import Manifest
from ddpm.jobs import Status, read_status, write_status
from ddpm.models import load_model
from ddpm.training import queue
from ddpm.training.run import Run


@pytest.fixture
def pets(tmp_path) -> Path:
    """Twenty images of each of two classes: bright at the top, or at the bottom."""
    for name, top in (("cat", 0), ("dog", 4)):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(20):
            image = Image.new("L", (8, 8), i)
            image.paste(255 - i, (0, top, 8, top + 4))
            image.save(tmp_path / "pets" / name / f"{i}.png")
    return tmp_path / "pets"


@pytest.fixture
def config(tiny_config, pets):
    def make(**changes):
        data = {"dataset": "folder", "path": str(pets), "image_size": 8, "val_fraction": 0.2}
        return tiny_config(**{"name": "pets", "data": data, "model__num_classes": 2, "training__batch_size": 8,
                              "training__val_every": 1, "training__log_every": 1, **changes})  # fmt: skip

    return make


def train_to(config, folder, last_step=None, **how) -> Run:
    with Run(config, folder, **how) as run:
        for event in run.events():
            if last_step and event.step == last_step and type(event).__name__ == "Validated":
                break
    return run


@pytest.fixture
def begun(config, output_dir) -> RunFolder:
    """A run of two steps of three."""
    folder = RunFolder(output_dir / "pets")
    train_to(config(), folder, last_step=2)
    return folder


# -- what it keeps -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_keeps_classes_digest_path_and_manifest(begun, pets, tmp_path):
    config, manifest = load_config(begun.config), Manifest.read(begun.path / "manifest.json")
    assert config.data.class_names == ("cat", "dog")
    assert config.data.digest == manifest.digest
    assert len(manifest.entries) == 40
    assert config.data.path == str(pets)
    model = load_model("run:pets")
    assert model.config.data == config.data
    model.save(tmp_path / "here", places=True)
    assert load_model(str(tmp_path / "here")).config.data == config.data
    model.save(tmp_path / "exported")  # for others: the folder's name alone, and not who has it
    assert load_model(str(tmp_path / "exported")).config.data == config.data.model_copy(update={"path": pets.name})
    assert str(pets.parent) not in (tmp_path / "exported" / "config.yaml").read_text()


@pytest.mark.slow
def test_a_relative_path_and_home_are_kept_from_the_root(config, pets, output_dir, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(pets.parent))
    monkeypatch.chdir(pets.parent)
    for name, path in (("here", "pets"), ("home", "~/pets")):
        folder = RunFolder(output_dir / name)
        data = config().data.model_copy(update={"path": path})
        train_to(config(name=name).model_copy(update={"data": data}), folder, last_step=1)
        assert load_config(folder.config).data.path == str(pets)
    monkeypatch.chdir("/")
    assert train_to(load_config(folder.config), folder, resume=True).status.inexact == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model__num_classes": 10},
            r"num_classes is 10, and .* has 2 class folders \('cat', 'dog'\): set it to 2",
        ),
        (
            {"data__class_names": ["cat", "cow"]},
            "has the classes 'cat', 'dog', and data.class_names says 'cat', 'cow'",
        ),
        ({"data__digest": "0" * 64}, "data.digest belongs to other images than those in .*: leave it out"),
    ],
)
def test_a_folder_that_is_not_what_the_config_states_is_refused(changes, message, config, output_dir):
    values = config().model_dump(mode="json")
    for name, value in changes.items():
        section, field = name.split("__")
        values[section][field] = value
    with pytest.raises(ConfigError, match=message):
        Run(config_from_dict(values), RunFolder(output_dir / "pets")).__enter__()
    assert not (output_dir / "pets").exists()


def test_images_without_classes_for_a_model_of_classes_are_refused(config, pets, output_dir):
    for i, path in enumerate(pets.rglob("*.png")):
        path.rename(pets / f"{i}.png")
    with pytest.raises(ConfigError, match=r"model\.num_classes is 2, and .* has 0 class folders: set it to 0, or sort"):
        Run(config(), RunFolder(output_dir / "pets")).__enter__()


@pytest.mark.slow
def test_what_is_odd_about_the_images_is_said_and_kept_in_the_status(config, pets, output_dir, cli):
    (pets / "cat/.DS_Store").write_bytes(b"")
    (pets / "cat/0.png").write_bytes(b"no image")
    Path("pets.yaml").write_text(config_to_yaml(config()))
    done = cli("train", "--config", "pets.yaml")
    assert done.code == 0
    assert "of the images: skipped as system or hidden files: cat/.DS_Store" in done.out
    assert "of the images: 1 of 40 images cannot be read and were skipped: cat/0.png cannot be read" in done.out
    assert len(read_status(RunFolder(output_dir / "pets")).notes) == 2


# -- what has changed ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_image_that_was_added_is_named_and_can_be_accepted(config, begun, pets):
    Image.new("L", (8, 8), 99).save(pets / "cat/new.png")
    with pytest.raises(ModelError, match=r"is not what this run began with: 1 image added; .* --accept-changed-data"):
        Run(config(), begun, resume=True).__enter__()
    assert load_config(begun.config).data.digest == Manifest.read(begun.path / "manifest.json").digest
    run = train_to(config(), begun, resume=True, accept_changed_data=True)
    assert run.status.inexact == ("of the images: 1 image added",)
    assert len(Manifest.read(begun.path / "manifest.json").entries) == 41
    assert read_status(begun).state == "finished"


@pytest.mark.slow
@pytest.mark.parametrize("accept", [False, True])
def test_renamed_classes_are_never_gone_on_with(accept, config, begun, pets):
    (pets / "cat").rename(pets / "kitten")
    message = r"'dog', 'kitten', and the run has learned 'cat', 'dog' \(class 'cat' is now 'kitten'\)"
    with pytest.raises(ModelError, match=message):
        Run(config(), begun, resume=True, accept_changed_data=accept).__enter__()


@pytest.mark.slow
def test_swapped_classes_are_named(config, begun, pets):
    (pets / "cat").rename(pets / "x")
    (pets / "dog").rename(pets / "cat")
    (pets / "x").rename(pets / "dog")
    with pytest.raises(ModelError, match="20 images moved from 'cat' to 'dog'; 20 images moved from 'dog' to 'cat'"):
        Run(config(), begun, resume=True).__enter__()


@pytest.mark.slow
def test_without_classes_to_ask_for_their_names_may_change_when_accepted(config, pets, output_dir):
    folder = RunFolder(output_dir / "pets")
    plain = config(model__num_classes=0, sampling={"num_steps": 5})
    train_to(plain, folder, last_step=2)
    (pets / "cat").rename(pets / "kitten")
    with pytest.raises(ModelError, match="class 'cat' is now 'kitten'"):
        Run(plain, folder, resume=True).__enter__()
    assert train_to(plain, folder, resume=True, accept_changed_data=True).config.data.class_names == ("dog", "kitten")


@pytest.mark.slow
def test_the_same_content_at_another_path_goes_on_exactly(config, begun, pets, output_dir, tmp_path):
    whole = train_to(config(name="whole"), RunFolder(output_dir / "whole"))
    shutil.move(pets, tmp_path / "moved")
    for path in (tmp_path / "moved/cat").iterdir():
        path.rename(path.with_name(f"image {path.name}"))
    values = config().model_dump(mode="json")
    values["data"]["path"] = str(tmp_path / "moved")
    resumed = train_to(config_from_dict(values), begun, resume=True)
    assert resumed.status.inexact == ()
    weights = whole.state.ema.model.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in resumed.state.ema.model.state_dict().items())


def forget_identity(folder: RunFolder) -> None:
    """Make a run one of an earlier version."""
    (folder.path / "manifest.json").unlink()
    for path in (folder.path / "ckpts").iterdir():
        content = torch.load(path, weights_only=True)
        for field in ("digest", "class_names", "background"):
            del content["config"]["data"][field]
        torch.save(content, path)
    values = load_config(folder.config).model_dump(mode="json", exclude_none=True)
    for field in ("digest", "class_names", "background"):
        del values["data"][field]
    folder.config.write_text(config_to_yaml(config_from_dict(values)))


@pytest.mark.slow
def test_a_run_of_before_there_were_manifests_goes_on_when_asked(begun):
    forget_identity(begun)
    config = load_config(begun.config)
    with pytest.raises(ModelError, match="which images it began with was not recorded"):
        Run(config, begun, resume=True).__enter__()
    run = train_to(config, begun, last_step=3, resume=True, accept_changed_data=True)
    assert run.status.inexact == ("of the images: which images it began with was not recorded",)
    assert (len(run.train_set), len(run.val_set)) == (29, 7)  # every tenth is for the test, as it was
    assert train_to(run.config, begun, resume=True).status.inexact == ()  # now it is


@pytest.mark.slow
def test_a_model_of_before_there_were_manifests_is_evaluated_on_its_own_test_set(begun):
    forget_identity(begun)
    real = RealImages.load(load_model("run:pets").config.data, 0, True)
    assert (len(real.train), len(real.test)) == (29, 4)


@pytest.mark.slow
def test_an_evaluation_is_of_the_images_that_the_folder_has_now(begun, pets):
    model = load_model("run:pets")
    protocol = Protocol(model.config.sampling, num_samples=4)
    first = list(evaluate(model, protocol))[-1].results
    assert all(event.reused for event in evaluate(model, protocol, first) if isinstance(event, StageDone))
    Image.new("L", (8, 8), 99).save(pets / "cat" / "new.png")
    again = [event for event in evaluate(model, protocol, first) if isinstance(event, StageDone)]
    assert not any(event.reused for event in again)
    assert again[-1].results["calibration"]["made_by"]["digest"] != first["calibration"]["made_by"]["digest"]


# -- the command line, jobs and pages ------------------------------------------------------------------------------


def test_a_finished_run_stays_finished_and_says_so(tiny_run, cli):
    status = (tiny_run / "status.json").read_text()
    done = cli("train", "--config", tiny_run / "config.yaml", "--resume")
    assert done.code == 0
    assert done.out.startswith("run tiny is finished, at step ")
    assert "training.epochs above 1" in done.out
    done = cli("runs", "resume", "tiny")
    assert done.code == 1
    assert "run tiny is finished" in done.err
    assert (tiny_run / "status.json").read_text() == status


@pytest.mark.slow
def test_a_changed_folder_is_refused_before_a_job_starts_and_accepted_when_asked(begun, pets, cli, monkeypatch):
    Image.new("L", (8, 8), 99).save(pets / "cat/new.png")
    started = []
    monkeypatch.setattr(queue, "start", lambda folder, status, arguments: started.append(arguments))
    done = cli("runs", "resume", "pets")
    assert done.code == 1
    assert "1 image added" in done.err
    assert started == []
    assert read_status(begun).state == "stopped"
    assert cli("runs", "resume", "pets", "--accept-changed-data").code == 0
    assert started[0][-2:] == ["--resume", "--accept-changed-data"]


@pytest.mark.slow
def test_the_card_says_what_has_changed_and_offers_to_go_on(begun, pets, open_page, monkeypatch):
    asked = []
    monkeypatch.setattr(queue, "launch", lambda config, **how: asked.append((config.name, how)))
    page = open_page("pages/train.py")
    assert any(button.label == "Resume" for button in page.button)
    Image.new("L", (8, 8), 99).save(pets / "cat/new.png")
    st.cache_data.clear()  # what a page found is kept for five seconds
    page = open_page("pages/train.py")
    assert any("1 image added. Put them back to resume exactly, or resume" in text.value for text in page.caption)
    button = next(button for button in page.button if button.label == "Resume with what is there")
    button.click().run()
    assert asked == [("pets", {"resume": True, "accept_changed_data": True})]


@pytest.mark.slow
def test_a_card_says_what_the_run_is_reading(begun, open_page, monkeypatch):
    import psutil

    me = psutil.Process()
    status = {"state": "running", "pid": me.pid, "process_started": me.create_time(), "total_steps": 0}
    write_status(begun, Status(**status, doing="reading 3,200 of 10,000 images", notes=("2 of 60 images are odd",)))
    page = open_page("pages/train.py")
    assert any("reading 3,200 of 10,000 images" in str(bar.proto) for bar in page.get("progress"))
    assert any(text.value == "Of its images: 2 of 60 images are odd" for text in page.caption)


SLOW = """
import sys, time
from ddpm.image_folder import reading as folder
def slow(*arguments, **how):
    time.sleep(4)
    raise folder.DataError("it is slow")
folder.read_picture, folder.MAX_UNREADABLE = slow, 1
from ddpm.cli import main
main(sys.argv[1:])
"""


@pytest.mark.slow
def test_a_launched_run_tells_that_it_reads_and_stops_when_asked_to(config, output_dir, tmp_path, monkeypatch):
    (tmp_path / "slow.py").write_text(SLOW)
    folder = RunFolder(output_dir / "pets")
    write_status(folder, Status(state="queued"))
    folder.keep_config(config_to_yaml(config()))
    popen = subprocess.Popen

    def slowly(command, **how):
        return popen([sys.executable, str(tmp_path / "slow.py"), *command[3:]], **how)

    monkeypatch.setattr(jobs.subprocess, "Popen", slowly)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    queue.advance_queue()
    deadline = time.monotonic() + 60
    while not (read_status(folder).doing or "").startswith("reading "):
        assert time.monotonic() < deadline, (read_status(folder), folder.log_tail(9))
        time.sleep(0.05)
    queue.stop(folder)
    asked = time.monotonic()
    while read_status(folder).state == "running":
        assert time.monotonic() < asked + 30  # a second, on a machine that is not busy; to read all would take 40
        time.sleep(0.02)
    assert read_status(folder).state == "stopped"
    assert read_status(folder).doing is None


@pytest.mark.slow
def test_ctrl_c_ends_the_reading(config, tmp_path, output_dir, monkeypatch):
    (tmp_path / "slow.py").write_text(SLOW)
    (tmp_path / "pets.yaml").write_text(config_to_yaml(config()))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    command = [sys.executable, "slow.py", "train", "--config", "pets.yaml"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(output_dir.glob(".folders/hashes*")):  # then it has begun to read
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30)[1].strip() == "interrupted"  # as above
    assert process.returncode == 130
    assert not (output_dir / "pets").exists()


def test_a_launched_run_that_cannot_begin_says_why(config, output_dir, pets):
    import psutil

    folder, me = RunFolder(output_dir / "pets"), psutil.Process()
    folder.keep_config(config_to_yaml(config()))
    write_status(folder, Status(state="running", pid=me.pid, process_started=me.create_time()))
    shutil.rmtree(pets)
    with pytest.raises(DataError):
        Run(config(), folder).__enter__()
    assert (read_status(folder).state, read_status(folder).error) == ("failed", f"data.path {pets} is not a folder")


# -- home ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_home_is_home_in_options_references_and_the_environment(begun, cli, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cli("export", "--model", "~/outputs/pets", "--out", "~/exported").code == 0
    assert (tmp_path / "exported/model.safetensors").is_file()
    monkeypatch.setenv("DDPM_OUTPUT_DIR", "~/outputs")
    assert "run:pets" in cli("models").out
    assert cli("viz", "dataset", "--config", "~/outputs/pets/config.yaml", "--split", "train",
               "--out", "~/pets.png").code == 0  # fmt: skip
    assert (tmp_path / "pets.png").is_file()


def test_every_option_that_is_a_path_knows_home():
    import click

    from ddpm.cli import cli as group
    from ddpm.cli.options import UserPath

    def commands(command):
        yield command
        for one in getattr(command, "commands", {}).values():
            yield from commands(one)

    paths = [p for command in commands(group) for p in command.params if isinstance(p.type, click.Path)]
    assert len(paths) > 15
    assert all(isinstance(parameter.type, UserPath) for parameter in paths)


# -- evaluating with other images ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_eval_maps_the_folders_onto_the_classes_of_the_model(tiny_run, cli, tmp_path):
    for name in ("3", "7"):
        (tmp_path / "some" / name).mkdir(parents=True)
        for i in range(30):
            Image.new("L", (8, 8), i * int(name)).save(tmp_path / "some" / name / f"{i}.png")
    done = cli("eval", "--model", "tiny", "--num-samples", 4, "--data", tmp_path / "some", "--per-class",
               "--out", "found.json")  # fmt: skip
    assert done.code == 0, done.err
    import json

    assert set(json.loads(Path("found.json").read_text())["calibration"]["per_class"]) == {"3", "7"}
    (tmp_path / "some/7").rename(tmp_path / "some/seven")
    done = cli("eval", "--model", "tiny", "--num-samples", 4, "--data", tmp_path / "some", "--out", "found.json")
    assert done.code == 1
    assert "has classes that the model does not know: 'seven'; its own are '0', '1'" in done.err
