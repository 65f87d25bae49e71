"""Public mode: what the app refuses and limits on a machine that strangers use.

DDPM_PUBLIC=1 turns it on, as does SPACE_ID, which a Hugging Face Space sets; DDPM_PUBLIC=0 turns it off even there. In
public mode only the owner of the machine decides what is run, stopped and deleted, on its command line: on the pages
training, evaluations, reports and deletion are off altogether. ``Limits`` has every limit.
"""

from __future__ import annotations

import math
import os
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ..config.schema import Config
from ..errors import ConfigError, ModelError, unknown
from ..files import data_dir, output_dir
from ..image_folder.decode import MAX_PIXELS
from ..models import Model
from ..storage.places import shipped_models

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Limits:
    """How much one request may ask for; the defaults are for your own machine."""

    evaluations: float = math.inf
    """Network evaluations: images x evaluations of each. $DDPM_MAX_EVALUATIONS in public mode."""
    values: float = math.inf
    """Values in the images of one picture: images x channels x height x width. They are kept while a visitor stays."""
    work: float = 500e9
    """Of one network evaluation of one image, see ``Cost.work``: about 7 s on 2 cores, which nobody can stop."""
    memory: int = 2_000_000_000
    """Bytes that such an evaluation may take."""
    picture_memory: int = 8_000_000_000
    """Bytes that an evaluation of all images of a picture may take."""
    upload_megabytes: int = 10
    """Of a file for a page that takes one."""
    file_megabytes: int = 1_000
    """Of any file: a ZIP of images to train on, too. As ``server.maxUploadSize`` in .streamlit/config.toml."""
    session_upload_megabytes: int = 1_000
    """Of all files that one visitor has uploaded and not removed. They are kept in memory."""
    server_upload_megabytes: int = 2_000
    """Of the files of all visitors."""
    upload_pixels: int = MAX_PIXELS
    config_characters: int = 20_000
    """Of a config's YAML; one that states every field has 2,000."""
    field_characters: int = 4_096
    """Of any other field of text: as long as the longest path. A browser's value is cut there."""
    widgets: int = 1_000
    """Whose values one message from a browser may carry; a page has up to a hundred."""


def is_public() -> bool:
    """Whether this copy serves strangers.

    Raises:
        ConfigError: DDPM_PUBLIC is neither 1 nor 0.
    """
    value = os.environ.get("DDPM_PUBLIC", "")
    if value not in ("", "0", "1"):
        raise ConfigError(f"DDPM_PUBLIC must be 1 (public mode) or 0 (off, on a Space too), got {value!r}")
    return value == "1" or (value == "" and bool(os.environ.get("SPACE_ID")))


def limits() -> Limits:
    """The limits that apply now.

    Raises:
        ConfigError: DDPM_PUBLIC or DDPM_MAX_EVALUATIONS is not valid.
    """
    if not is_public():
        return Limits()
    most = os.environ.get("DDPM_MAX_EVALUATIONS", "2000")
    if not re.fullmatch(r"[0-9]{1,9}", most) or int(most) < 1:
        raise ConfigError(f"DDPM_MAX_EVALUATIONS must be a whole number from 1, got {most!r}")
    return Limits(
        evaluations=int(most), values=250_000, work=20e9, memory=500_000_000, picture_memory=1_000_000_000,
        file_megabytes=10, session_upload_megabytes=30, server_upload_megabytes=200, upload_pixels=25_000_000,
    )  # fmt: skip


def check_evaluations(count: int, what: str, remedy: str) -> None:
    """Refuse what takes more network evaluations than one request may.

    Raises:
        ConfigError: ``what`` takes too many; the message ends with the ``remedy``.
    """
    most = limits().evaluations
    if count > most:
        raise ConfigError(
            f"{what} would take {count:,} network evaluations, and {most:,} are the most on this public page: {remedy}"
        )


def most_images(evaluations: int, values: int) -> int | None:
    """How many images one request may have, given the ``evaluations`` and ``values`` of one image; None if there is no
    limit, 0 if not even one is possible."""
    here = limits()
    most = min(here.evaluations / max(1, evaluations), here.values / max(1, values))
    return None if math.isinf(most) else math.floor(most)


def check_images(count: int, evaluations: int, values: int) -> None:
    """Refuse a picture that is too large; ``evaluations`` and ``values`` are those of one image.

    Raises:
        ConfigError: says how many images are possible.
    """
    most = most_images(evaluations, values)
    if most is not None and count > most:
        here = limits()
        over = (
            f"{count * evaluations:,} network evaluations, and {here.evaluations:,} are the most"
            if count * evaluations > here.evaluations
            else f"{count * values:,} values, and {here.values:,} are the most"
        )
        remedy = f"at most {most} image{'' if most == 1 else 's'}, or fewer steps" if most else "take fewer steps"
        raise ConfigError(f"{count} image{'' if count == 1 else 's'} would take {over} on this public page: {remedy}")


def check_memory(count: int, model: Model) -> None:
    """Refuse a picture whose images together take more memory than one picture may.

    Raises:
        ConfigError: says how many images are possible.
    """
    needed, most = count * model.cost.memory, limits().picture_memory
    if needed > most:
        raise ConfigError(
            f"{count} images of {model.source} would take {needed / 1e9:,.1f} GB of memory at once, and "
            f"{most / 1e9:,.1f} GB are the most here: at most {most // model.cost.memory}"
        )


def forbid(what: str) -> None:
    """Refuse what only the owner of the machine may do.

    Raises:
        ConfigError: in public mode.
    """
    if is_public():
        raise ConfigError(f"{what} is off on this public page: run DDPM Lab on a machine of your own")


def published(config: Config) -> Config:
    """A run's config as a page shows it: in public mode with stand-ins for the path of its images and for a model that
    is not offered."""
    if not is_public():
        return config
    data, training = config.data, config.training
    if data.path is not None:
        data = data.model_copy(update={"path": "your/images"})
    if training.start_from is not None and training.start_from not in offered_models():
        training = training.model_copy(update={"start_from": "your/model"})
    return config.model_copy(update={"data": data, "training": training})


def check_config(config: Config) -> None:
    """Refuse a config that names a folder of this machine, or a model that is not offered, before either is looked at.

    Raises:
        ConfigError: in public mode, for the dataset ``folder`` and for such a ``training.start_from``.
    """
    if is_public() and config.data.dataset == "folder":
        raise ConfigError(
            "data.dataset folder reads images from the machine that trains, and this public page reads none: "
            "download the YAML and train with it on your own"
        )
    reference = config.training.start_from
    if is_public() and reference is not None and reference not in offered_models():
        raise ConfigError(f"training.start_from: {unknown('model', reference[:80], offered_models())}")


# -- models --------------------------------------------------------------------------------------------------------


def extra_models() -> list[str]:
    """$DDPM_MODELS, the model references offered in public mode besides the shipped models.

    Raises:
        ConfigError: one of them is neither run:NAME nor hf://user/repo; a path would be visible on the page.
    """
    found = [reference.strip() for reference in os.environ.get("DDPM_MODELS", "").split(",") if reference.strip()]
    for reference in found:
        if not re.fullmatch(r"run:[\w.-]+|hf://[\w.-]+/[\w.-]+(@[\w./-]+)?", reference):
            raise ConfigError(
                f"DDPM_MODELS lists run:NAME and hf://user/repo@revision beside the shipped models, got {reference!r}"
            )
    return found


def offered_models() -> list[str]:
    """The references of the models that a public page offers."""
    return [*shipped_models(), *extra_models()]


def shows_run(name: str) -> bool:
    """Whether pages show a run of that name: in public only those that $DDPM_MODELS lists."""
    return not is_public() or f"run:{name}" in extra_models()


def check_model(reference: str) -> None:
    """Refuse a model that this public page does not offer, above all a path.

    Raises:
        ModelError: in public mode, for a model that is neither shipped nor in $DDPM_MODELS.
    """
    if is_public() and reference not in (valid := offered_models()):
        raise ModelError(unknown("model", reference[:80], valid))


def check_cost(model: Model) -> None:
    """Refuse a model if one network evaluation of one image takes too long or too much memory for the app.

    Raises:
        ModelError: says what it takes and what is possible.
    """
    cost, most = model.cost, limits()
    elsewhere = "" if is_public() else ": the command line has no limit"
    for needed, limit, unit in (
        (cost.work, most.work, "billion multiply-accumulates, or what takes as long,"),
        (cost.memory, most.memory, "GB of memory"),
    ):
        if needed > limit:
            raise ModelError(
                f"{model.source} takes {needed / 1e9:,.1f} {unit} for one evaluation of one image, and "
                f"{limit / 1e9:,.1f} are the most here{elsewhere}"
            )


# -- what a page says ----------------------------------------------------------------------------------------------


def redacted(text: str) -> str:
    """Remove this machine's folders from a text in public mode, so that strangers may read it."""
    try:
        if not is_public():
            return text
    except ConfigError:
        pass  # undecided: assume that strangers are reading
    known = {
        data_dir(): "data",
        output_dir(): "outputs",
        ROOT: "",
        Path(tempfile.gettempdir()): "…",
        Path(sys.prefix): "…",
        Path.home(): "…",
    }
    # The longest first: the data may lie inside the repository, and that in the home folder.
    for path in sorted(known, key=lambda path: -len(str(path.absolute()))):
        for folder in {str(path.absolute()), str(path.resolve())} - {"/"}:
            text = re.sub(rf"{re.escape(folder)}(/|(?![\w.-]))", f"{known[path]}/" if known[path] else "", text)
    return re.sub(r"(?<![\w:/.…~])/(?:[^\s/'\",;:()<>`]+/)+", "…/", text)
