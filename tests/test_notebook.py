"""The notebook for images of one's own: it runs from top to bottom, also after its kernel was killed in the middle."""

import os
import re
import shutil
import signal
import threading
import time
from pathlib import Path

import jupytext
import nbformat
import pytest
import torch
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError

from ddpm import load_config, load_model
from ddpm.errors import HubError
from ddpm.files import RunFolder
from ddpm.jobs import read_status
from ddpm.storage.backup import back_up, restore
from ddpm.training.run import Run
from tests.conftest import ROOT
from tests.hub_server import TOKEN
from tests.test_taking import picture, zipped

NOTEBOOK, SCRIPT = (ROOT / "notebooks" / f"own_images.{suffix}" for suffix in ("ipynb", "py"))
SMALL = {  # a training of seconds on a CPU
    "data.image_size": 16,
    "model.attention_resolutions": [],
    "model.base_channels": 8,
    "model.head_channels": 8,
    "schedule.num_timesteps": 20,
    "training.epochs": 30,
    "training.val_every": 30,
    "training.sample_every": 60,
    "sampling.num_steps": 2,
}


def with_parameters(**values) -> nbformat.NotebookNode:
    """The notebook with its first cell answered."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (at,) = (i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", []))
    answers = "\n".join(f"{name} = {value!r}" for name, value in values.items())
    notebook.cells.insert(at + 1, nbformat.v4.new_code_cell(answers))
    return notebook


def executed(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    return NotebookClient(notebook, timeout=120, resources={"metadata": {"path": NOTEBOOK.parent}}).execute()


def outputs_of(notebook: nbformat.NotebookNode) -> list:
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def text_of(notebook: nbformat.NotebookNode) -> str:
    return "".join(output.get("text", "") for output in outputs_of(notebook))


def weights(folder: RunFolder) -> dict[str, torch.Tensor]:
    return torch.load(folder.checkpoint("latest"), weights_only=True)["ema"]


@pytest.fixture(scope="module")
def pets(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("images") / "pets.zip"
    images = {f"{kind}/{i}.png": picture(2 * i + (kind == "cat")) for kind in ("cat", "dog") for i in range(24)}
    path.write_bytes(zipped(images).getvalue())
    return path


def test_the_notebook_is_the_script_without_outputs():
    """``jupytext --update --to ipynb notebooks/own_images.py`` writes it."""
    notebook, source = nbformat.read(NOTEBOOK, as_version=4), jupytext.read(SCRIPT)
    nbformat.validate(notebook)
    cells = [[(cell.cell_type, cell.source, cell.metadata) for cell in each.cells] for each in (notebook, source)]
    assert cells[0] == cells[1]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)


@pytest.mark.slow
def test_it_runs_from_top_to_bottom_and_again_after_being_killed_in_the_middle(pets, tmp_path, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    asked = {"IMAGES": str(pets), "NAME": "pets", "CHANGES": SMALL}
    again = with_parameters(**asked, KEEP_IN=str(tmp_path), HUB="me/pets")
    kept, folder = tmp_path / "pets", RunFolder(tmp_path / "pets" / "pets")
    killer = threading.Thread(target=kill_at_first_checkpoint, args=(folder,))
    killer.start()
    with pytest.raises(DeadKernelError):
        executed(again)
    killer.join()
    assert "2 classes: one for each folder" in text_of(again)
    step = torch.load(folder.checkpoint("latest"), weights_only=True)["step"]
    outputs, said = outputs_of(executed(again)), text_of(again)
    for part in (
        "48 images, 24 of cat, 24 of dog", "The training has begun", "of training on this machine",
        "cat, dog", "pets.gif", "pets.zip",
    ):  # fmt: skip
        assert part in said
    assert re.search(r"^Step (\d+) of \1\.$", said, re.MULTILINE), said
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 5, "images, curves, newest samples, samples by class, nearest training images"
    assert sum("image/gif" in output.get("data", {}) for output in outputs) == 1, "their way"
    assert load_model(str(kept / "model")).class_names == ("cat", "dog")
    assert (kept / "pets.zip").stat().st_size > 10_000
    _, copy = hub.repos["me/pets"].at("main")
    assert copy["pets/ckpts/latest.pt"] == (kept / "pets" / "ckpts" / "latest.pt").read_bytes()

    status = read_status(folder)
    assert (status.state, status.inexact) == ("finished", ())
    assert 0 < step < status.step == status.total_steps
    assert len(list((kept / "images").iterdir())) == 1, "the images were taken in once"
    whole = RunFolder(tmp_path / "whole")
    with Run(load_config(folder.config), whole) as run:  # never interrupted
        list(run.events())
    expected = weights(whole)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights(folder).items())


def kill_at_first_checkpoint(folder: RunFolder) -> None:
    deadline = time.monotonic() + 90
    while not folder.checkpoint("latest").is_file():
        assert time.monotonic() < deadline, "no checkpoint"
        time.sleep(0.02)
    os.kill(read_status(folder).pid, signal.SIGKILL)


def test_a_copy_on_the_hub_brings_back_a_folder_that_is_gone(hub, tiny_run, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    outputs = tiny_run.parent
    (outputs / ".folders").mkdir()
    (outputs / ".folders" / "cache").write_text("made anew where it is missing")
    assert not restore(outputs.with_name("nothing"), "me/kept")
    back_up(outputs, "me/kept")
    assert hub.repos["me/kept"].private

    before = {path.relative_to(outputs): path.read_bytes() for path in outputs.rglob("*") if path.is_file()}
    assert not restore(outputs, "me/kept"), "a folder that is there is newer than its copy"
    shutil.rmtree(outputs)
    assert restore(outputs, "me/kept")
    after = {path.relative_to(outputs): path.read_bytes() for path in outputs.rglob("*") if path.is_file()}
    gone = {path for path in before if path.parts[0] == ".folders" or path.name == ".lock"}
    assert after == {path: content for path, content in before.items() if path not in gone}

    hub.add("me/public", {})
    with pytest.raises(HubError, match="me/public is public, and your images would be too"):
        back_up(outputs, "me/public")
