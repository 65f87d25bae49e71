# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Train a diffusion model on your own images
#
# From a few dozen images to a model of your own, on a free GPU. Fill in the next cell, then run all cells. If the
# runtime is killed, run all cells again: the training continues from its last checkpoint, and ends with the weights
# that it would have had.
#
# - **Colab**: first choose a GPU under *Runtime, Change runtime type*. Everything is kept in your Google Drive,
#   or with `HUB` on the Hub.
# - **Kaggle**: choose *GPU T4* (its P100 is too old for today's PyTorch) and *Persistence: Files only*, switch
#   *Internet* on, and add your images under *Input*.
# - **Anywhere else**: give the path of your images.
#
# Images lie side by side, or in one folder for each class.

# %% tags=["parameters"]
SOURCE = ""  # where DDPM Lab comes from: the address of its repository, as git clone takes it, or a ZIP of it sent here
NAME = "my-model"  # another name begins another training, with other images
IMAGES = ""  # a ZIP or a folder; empty: Colab asks you for a ZIP, Kaggle takes all of your Input
KEEP_IN = ""  # a folder; empty: Google Drive in Colab, /kaggle/working on Kaggle, else outputs
HUB = ""  # user/name: a private repo of the Hugging Face Hub keeps a copy; needs HF_TOKEN, a token that may write
BACK_UP_EVERY = 180  # seconds between two copies to the Hub
CHANGES = {}  # fields of the config to set yourself, such as {"training.epochs": 200, "data.horizontal_flip": False}

# %% [markdown]
# ## Install
#
# Takes a few minutes on a fresh runtime, and is skipped where DDPM Lab is there.

# %%
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

if Path("../ddpm/__init__.py").is_file():  # opened in a checkout
    sys.path.insert(0, os.path.abspath(".."))
if importlib.util.find_spec("ddpm") is None:
    if not SOURCE:
        raise SystemExit("Set SOURCE in the first cell to the address of the repository that this notebook is from, "
                         "or upload a ZIP of it and set SOURCE to its name.")  # fmt: skip
    if Path("ddpm-lab").exists():
        pass
    elif Path(SOURCE).is_file():
        shutil.unpack_archive(SOURCE, "ddpm-lab")
    else:
        subprocess.run(["git", "clone", "--quiet", "--depth", "1", SOURCE, "ddpm-lab"], check=True)
    lab = next(Path("ddpm-lab").rglob("pyproject.toml")).parent  # an archive may hold it one folder deeper
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--editable", lab], check=True)
    if {"torch", "numpy", "PIL"} & sys.modules.keys():  # of versions that may just have been replaced
        raise SystemExit("Installed. Restart the session (Runtime, Restart session), then run all cells again.")
    sys.path.insert(0, os.path.abspath(lab))  # what was installed, Python finds at its next start

# %% [markdown]
# ## Where everything is kept
#
# Images, checkpoints and curves lie in one folder. With `HUB` a copy of it goes to the Hub while the training runs, and
# comes back from there if the folder is gone. Its token is a secret called `HF_TOKEN`: in Colab under the key at the
# left, on Kaggle under *Add-ons, Secrets*.

# %%
from ddpm.device import resolve_device
from ddpm.storage.backup import back_up, restore

IN_COLAB = "google.colab" in sys.modules
if KEEP_IN:
    place = Path(KEEP_IN)
elif IN_COLAB and not HUB:
    from google.colab import drive

    drive.mount("/content/drive")
    place = Path("/content/drive/MyDrive/ddpm-lab")
else:
    place = Path("/kaggle/working/ddpm-lab") if Path("/kaggle/working").is_dir() else Path("outputs")
kept = place.resolve() / NAME
os.environ["DDPM_OUTPUT_DIR"] = str(kept)
if HUB and "HF_TOKEN" not in os.environ and Path("/kaggle/working").is_dir():
    from kaggle_secrets import UserSecretsClient

    os.environ["HF_TOKEN"] = UserSecretsClient().get_secret("HF_TOKEN")
place.mkdir(parents=True, exist_ok=True)
if HUB and restore(kept, HUB):
    print(f"Restored from {HUB}.")
device = resolve_device("auto").type
print(f"Everything is kept in {kept}. Training on: {device}.")
if device == "cpu":
    print("THERE IS NO GPU: this will be slow. In Colab choose one under Runtime, Change runtime type.")

# %% [markdown]
# ## Your images
#
# They are copied once, with a note of everything that is left out; a second time they are there.

# %%
import io
import tempfile

from ddpm.image_folder.taking import all_taken, take_in, taken


def take_in_all():
    """The images that IMAGES names, or that Colab or Kaggle has."""
    if not IMAGES and IN_COLAB:
        from google.colab import files

        sent = files.upload()
        if not sent:
            raise SystemExit("Nothing was sent: run this cell again, and choose a ZIP.")
        return take_in([(name, io.BytesIO(content)) for name, content in sent.items()])
    source = Path(IMAGES or "/kaggle/input").expanduser()
    if not source.exists():
        raise SystemExit(f"There are no images at {source}: set IMAGES in the first cell to a ZIP or a folder.")
    with tempfile.TemporaryDirectory() as folder:
        if source.is_dir():
            source = Path(shutil.make_archive(f"{folder}/{source.name}", "zip", source))
        with open(source, "rb") as file:
            return take_in([(source.name, file)])


seen = taken(all_taken()[0]) if all_taken() else take_in_all()
print(f"{seen.images:,} images", *(f"{count:,} of {name}" for name, count in seen.classes.items()), sep=", ")
for sentence in seen.skipped:
    print(f"Left out: {sentence}.")

# %% [markdown]
# ## A config that fits
#
# What your images are like decides size, colour and length of the training, each with its reason. `CHANGES` has the
# last word.

# %%
import ddpm
from ddpm.config import change, config_from_dict
from ddpm.files import RunFolder
from ddpm.quantities import span
from ddpm.training.estimate import estimate, measure_speed
from ddpm.training.proposal import propose_here

run_folder = RunFolder.named(NAME)
if run_folder.can_resume:
    config = ddpm.load_config(run_folder.config)
    print("The training has begun: it continues with its own config.")
else:
    preset = ddpm.load_config(Path(ddpm.__file__).parents[1] / "configs" / "folder.yaml")
    config, reasons = propose_here(seen, preset)
    for reason in reasons:
        print(f"{reason.what}: {reason.why}.")
    for field, value in CHANGES.items():
        print(f"Set by you instead: {field} = {value}.")
values = config.model_dump(mode="json")
for field, value in {"name": NAME, "data.path": str(seen.folder), **CHANGES}.items():
    change(values, field, value)
config = config_from_dict(values)
cost = estimate(config)
seconds = cost.images / measure_speed(config)
print(f"{cost.steps:,} steps of {cost.images_per_step} images: about {span(seconds)} of training on this machine.")

# %% [markdown]
# Some of them as the network will see them:

# %%
from IPython.display import Image, clear_output, display

from ddpm.media.images import enlarge, make_grid, to_uint8

train_images = ddpm.load_dataset(config.data, "train")
display(enlarge(make_grid(train_images.images[:40], columns=10)))

# %% [markdown]
# ## Train
#
# At every validation, of which there are ten, a checkpoint is written, and the curves and the newest samples are drawn
# anew. You may interrupt the cell; run it again to continue.

# %%
import time

from ddpm.cli.training import TrainingPrinter
from ddpm.errors import HubError
from ddpm.media.figures import curves_png
from ddpm.training.events import Validated
from ddpm.training.history import read_history
from ddpm.training.run import Run


def back_up_to_hub():
    """Send everything to the Hub; the training does not end where that is out of reach."""
    try:
        back_up(kept, HUB)
    except HubError as error:
        print(error)


def show_progress(status):
    """Say how far the training is, and draw the curves so far and the newest samples."""
    clear_output(wait=True)
    print(f"Step {status.step:,} of {status.total_steps:,}", end="")
    print(f", about {span(status.eta)} left." if status.eta else ".")
    display(Image(curves_png(read_history(run_folder.metrics)), width=900))
    if grids := sorted(run_folder.path.glob("grids/*.png")):
        display(Image(grids[-1].read_bytes(), width=480))


if run_folder.exists() and not run_folder.can_resume:
    shutil.rmtree(run_folder.path)  # it was killed before its first checkpoint
backed_up = float("-inf")
with Run(config, run_folder, resume=run_folder.can_resume) as run:
    for reason in run.status.inexact:
        print(f"Continues, but not exact to the bit: {reason}")
    printer = TrainingPrinter(run)
    for event in run.events():
        printer(event)
        if isinstance(event, Validated):
            show_progress(run.status)
            if HUB and time.monotonic() - backed_up > BACK_UP_EVERY:
                back_up_to_hub()
                backed_up = time.monotonic()
show_progress(run.status)
if HUB:
    back_up_to_hub()

# %% [markdown]
# ## Samples
#
# A row for each class, or rows of any kind where there are none. Another seed gives other images.

# %%
model = ddpm.load_model(f"run:{NAME}", "auto")
classes = range(min(model.num_classes, 10))
labels = [label for label in classes for _ in range(10)] or None
samples = ddpm.generate(model, len(labels or range(40)), labels=labels, seed=0)
print(*(model.class_name(label) for label in classes), sep=", ")
display(enlarge(make_grid(to_uint8(samples), columns=10), 640))

# %% [markdown]
# ## From noise to image
#
# The same samples on their way, as a GIF beside the model.

# %%
from ddpm.media.images import Trajectory, gif_bytes

steps = ddpm.sample(model, len(labels or range(40)), labels=labels, seed=0)
film = kept / f"{NAME}.gif"
film.write_bytes(gif_bytes(Trajectory.from_steps(steps, model.config.sampling.num_steps).grids()))
print(film)
display(Image(film.read_bytes()))

# %% [markdown]
# ## Are they new?
#
# Above, the samples that come nearest to a training image; below, that image. With few images and a long training a
# model can end up drawing nothing but what it has seen.

# %%
import torch

from ddpm.errors import MetricError
from ddpm.evaluation.memorised import closeness
from ddpm.evaluation.metrics import nearest
from ddpm.evaluation.real_images import RealImages

found = nearest(samples, train_images.images)
closest = found.distance.argsort()[:10]
pairs = torch.cat([to_uint8(samples)[closest], train_images.images[found.index[closest]]])
display(enlarge(make_grid(pairs, columns=len(closest)), 640))
try:
    real = RealImages.load(model.config.data, 0, bool(labels))
    print(closeness(samples, torch.tensor(labels) if labels else None, real).verdict + ".")
except MetricError as error:
    print(f"How close that is cannot be told: {error}.")

# %% [markdown]
# ## Take it with you
#
# `model.safetensors` and `config.yaml` are the model. In the app, or in Python with `ddpm.load_model`, name the folder
# that they lie in. `python -m ddpm push --private --model FOLDER user/name` puts it on the Hub with a card; from then
# on it is `hf://user/name` everywhere. `python -m ddpm static --model FOLDER --out page` makes a page that draws with
# it in anyone's browser.

# %%
weights = model.save(kept / "model")
archive = shutil.make_archive(str(kept / NAME), "zip", weights.parent)
print(archive)
if IN_COLAB:
    from google.colab import files

    files.download(archive)
    files.download(str(film))  # a friend needs nothing else to see it
