"""Starts a training on Hugging Face Jobs: what it would cost, the run's private repo, and the job.

Everything that huggingface_hub offers for jobs needs a token, and Hugging Face asks for credit. ``ddpm.deploy.remote``
follows the job.
"""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..config.edit import config_to_yaml, differences, load_config
from ..config.schema import Config
from ..errors import ConfigError, HubError, ModelError
from ..extensions import VARIABLE
from ..files import RunFolder
from ..jobs import ACTIVE, read_status, write_status
from ..storage.hub import check_repo_id, is_on_hub
from ..storage.hub_errors import SIGN_IN, Unreachable, translate_hub_errors
from ..storage.layouts import CONFIG
from ..storage.places import shipped_models
from ..training.checkpoint import DEFINING
from ..training.estimate import sizes
from ..training.identity import with_absolute_path
from ..training.loop import steps_per_epoch
from ..training.preflight import check, refuse
from ..training.runs import finished_text, is_finished, refusal
from .hf_job_worker import UPLOAD_EVERY
from .public import forbid
from .remote import RemoteJob, mirror, told
from .run_repo import OWN, STATUS, RunRepo
from .wheel import FILE_NAME, wheel

if TYPE_CHECKING:
    from huggingface_hub import JobHardwareInfo, JobInfo

PRICES = "https://huggingface.co/docs/hub/jobs-pricing"
IMAGE = f"python:{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True)
class Plan:
    """A job that could be started; nothing has been uploaded yet."""

    config: Config
    repo: RunRepo
    hardware: JobHardwareInfo
    hours: float
    resume: bool
    accept_changed_data: bool
    notes: tuple[str, ...]
    """What is odd about the training, a line each."""

    @property
    def lines(self) -> list[str]:
        """What it is and costs, for people."""
        machine, price = self.hardware, dollars_an_hour(self.hardware)
        gpu = machine.accelerator
        parts = [machine.cpu, machine.ram, f"{gpu.quantity} x {gpu.model}, {gpu.vram}" if gpu else "no GPU"]
        images = [f"images:   those of {self.config.data.path}, in the private dataset {self.repo.images}"]
        return [
            f"machine:  {machine.name} ({', '.join(parts)}), {price_text(machine)}",
            f"limit:    {self.hours:g} h, then it ends"
            + (f": ${price * self.hours:.2f} at most" if price is not None else f"; prices: {PRICES}"),
            f"training: {steps(self.config):,} steps; how long one takes there shows when it runs, in its log",
            f"repo:     {self.repo.repo_id}, private, gets config, code, metrics and checkpoints",
            *(images if self.config.data.path else []),
            *self.notes,
        ]


def steps(config: Config) -> int:
    return config.training.epochs * steps_per_epoch(sizes(config).train, config.training.batch_size)


def dollars_an_hour(machine: JobHardwareInfo) -> float | None:
    """None where the price is by another unit than the minute or the hour."""
    in_an_hour = {"minute": 60, "hour": 1}.get(machine.unit_label)
    return in_an_hour and machine.unit_cost_usd * in_an_hour


def price_text(machine: JobHardwareInfo) -> str:
    price = dollars_an_hour(machine)
    return f"${machine.unit_cost_usd:g} a {machine.unit_label}" if price is None else f"${price:.2f} an hour"


def offers() -> dict[str, JobHardwareInfo]:
    """The machines that Hugging Face rents for jobs, with their prices, by their names.

    Raises:
        HubError: it is out of reach, or what answers for the Hub has no jobs.
    """
    from huggingface_hub import HfApi, constants

    try:
        with translate_hub_errors("list the machines of Hugging Face Jobs", constants.ENDPOINT):
            return {machine.name: machine for machine in HfApi().list_jobs_hardware()}
    except HubError as error:
        if error.status != 404:
            raise
        raise HubError(f"{constants.ENDPOINT} offers no jobs: check HF_ENDPOINT", 404) from None


def plan(
    config: Config, flavor: str | None, *, repo_id: str | None = None, hours: float, resume: bool = False,
    accept_changed_data: bool = False,
) -> Plan:  # fmt: skip
    """Check that a training can begin on Hugging Face, and what it would cost; nothing is written or uploaded.

    Args:
        flavor: the name of the machine.
        repo_id: user/name of the run's repo; by default the account's, with the run's name.

    Raises:
        ConfigError: no such machine, a config that cannot be trained there, or public mode.
        ModelError: the run's name is taken, or there is nothing to resume.
        HubError: no token, or the Hub refuses or is out of reach.
    """
    forbid("Training on Hugging Face")
    token = _token()
    machines = offers()
    if flavor not in machines:
        offered = ", ".join(f"{name} ({price_text(machine)})" for name, machine in machines.items())
        raise ConfigError(
            f"--flavor {flavor or 'is missing'}: name one of the machines that are offered, which are {offered}"
        )
    config, folder = _for_there(config, machines[flavor]), RunFolder.named(config.name)
    repo_id = (_check_resumed(config, folder, repo_id) if resume else _check_new(folder, repo_id)) or _default(config)
    check_repo_id(repo_id)
    here = config.training.model_copy(update={"device": "auto", "precision": "auto"})  # this machine's are another's
    findings = check(config.model_copy(update={"training": here}))
    refuse(findings)
    notes = tuple(finding.line for finding in findings)
    return Plan(config, RunRepo(repo_id, token), machines[flavor], hours, resume, accept_changed_data, notes)


def _token() -> str:
    from huggingface_hub import get_token

    if found := (get_token() or "").strip():
        return found
    raise HubError(f"training on Hugging Face needs a token with write access, which may start jobs: {SIGN_IN}")


def _default(config: Config) -> str:
    from huggingface_hub import HfApi

    with translate_hub_errors("look up whose token this is", "Hugging Face"):
        return f"{HfApi().whoami()['name']}/{config.name}"


def _for_there(config: Config, machine: JobHardwareInfo) -> Config:
    """The config as it is trained there: with nothing that only this machine has."""
    device, start, gpu = config.training.device, config.training.start_from, machine.accelerator
    if device not in ("auto", "cpu") and not (gpu and device.startswith("cuda")):
        raise ConfigError(f"training.device is {device}, which {machine.name} does not have: leave it at auto")
    if start and not is_on_hub(start) and start not in shipped_models():
        raise ConfigError(
            f"training.start_from is {start}, which only this machine has: publish it with python -m ddpm push, and "
            "name it as hf://user/repo"
        )
    if os.environ.get(VARIABLE):
        raise ConfigError(
            f"{os.environ[VARIABLE]} (--import) is code of your own, which a job does not get: train here"
        )
    training = config.training.model_copy(update={"track": ()})
    return with_absolute_path(config.model_copy(update={"training": training}))


def _check_new(folder: RunFolder, repo_id: str | None) -> str | None:
    if folder.path.exists() and any(folder.path.iterdir()):
        raise ModelError(refusal(folder, resume=False))
    return repo_id


def _check_resumed(config: Config, folder: RunFolder, repo_id: str | None) -> str | None:
    """The repo to go on in; if nobody has followed the last job to its end, what it has uploaded is fetched first."""
    job, status = RemoteJob.of(folder), read_status(folder)
    if job and status.remote and status.state in ACTIVE:
        status = mirror(folder, job)
    if status.state in ACTIVE:
        raise ModelError(f"run {config.name} is {status.state} already: python -m ddpm runs follow|stop {config.name}")
    if job is None and (why := refusal(folder, resume=True)):
        raise ModelError(why)
    if is_finished(folder, config):
        raise ModelError(finished_text(folder, config))
    about_images = {"data.path", "data.digest", "data.class_names"}
    for field, (before, now) in differences(load_config(folder.config), config).items():
        if field.split(".")[0] in DEFINING and field not in about_images:
            raise ModelError(f"{field} was {before!r} when run {config.name} began, and is {now!r} now: set it back")
    return repo_id or (job and job.repo)


# -- starting --------------------------------------------------------------------------------------------------------


def submit(planned: Plan) -> RunFolder:
    """Upload what a planned training needs into its repo, and start its job, which costs money from here on.

    Raises:
        HubError: the Hub refuses, asks for credit, or is out of reach; a repo that this made is removed again.
    """
    config, repo, folder = planned.config, planned.repo, RunFolder.named(planned.config.name)
    job = RemoteJob.of(folder)
    new = job is None or job.repo != repo.repo_id
    if new:
        repo.create()
    try:
        _upload(planned, folder)
        started = _start(planned)
    except (HubError, KeyboardInterrupt):
        if new:
            with suppress(Unreachable), repo.doing("remove"):
                repo.api.delete_repo(repo.repo_id)
        raise
    written = folder.log.stat().st_size if folder.log.is_file() else 0
    folder.keep_config(config_to_yaml(config))
    (folder.path / STATUS).unlink(missing_ok=True)  # of the last job
    RemoteJob(
        repo=repo.repo_id, id=started.id, namespace=started.owner.name, url=started.url,
        flavor=planned.hardware.name, log_from=written,
    ).keep(folder)  # fmt: skip
    write_status(folder, told("SCHEDULING", None, None, RemoteJob.of(folder), folder))
    return folder


def _upload(planned: Plan, folder: RunFolder) -> None:
    config, repo = planned.config, planned.repo
    if config.data.dataset == "folder" and not config.model.step_counts:
        repo.push_images(config.data.folder)
    code = wheel(shipped_models=config.training.start_from is not None)
    extra = {f"{OWN}/{FILE_NAME}": code, CONFIG: config_to_yaml(config).encode()}
    with tempfile.TemporaryDirectory() as empty:
        source = folder if planned.resume else RunFolder(Path(empty))
        repo.push(source, f"Train {config.name} on {planned.hardware.name}", extra, delete=[f"{OWN}/*"])


def _start(planned: Plan) -> JobInfo:
    repo = planned.repo
    with translate_hub_errors(f"start a job for {repo.repo_id}", "Hugging Face Jobs", repo.token):
        return repo.api.run_job(
            image=IMAGE,
            command=["bash", "-c", command(repo.repo_id, planned.config.name, planned.accept_changed_data)],
            flavor=planned.hardware.name,
            timeout=round(planned.hours * 3600),
            secrets={"HF_TOKEN": repo.token},
            labels={"ddpm-run": planned.config.name},
            namespace=repo.repo_id.partition("/")[0],
        )


def command(repo_id: str, run: str, accept_changed_data: bool = False) -> str:
    """What the job runs: it installs this copy of the package from the run's repo, and trains."""
    from huggingface_hub import __version__ as client

    arguments = f"'{repo_id}', '{OWN}/{FILE_NAME}', local_dir='$HOME/ddpm'"
    train = ["python", "-m", "ddpm", "hf-job", repo_id, "--run", run, "--every", f"{UPLOAD_EVERY:g}"]
    return " && ".join((
        f"pip install --quiet huggingface_hub=={client}",
        f'python -c "import huggingface_hub; huggingface_hub.hf_hub_download({arguments})"',
        f'pip install --quiet "$HOME/ddpm/{OWN}/{FILE_NAME}"',
        f"exec {shlex.join(train + ['--accept-changed-data'] * accept_changed_data)}",
    ))  # fmt: skip
