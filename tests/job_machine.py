"""A machine of Hugging Face Jobs, as the Hub on loopback has one: a process on this machine that runs a job's command.

Bash runs the command as it is, in a home of its own with no run in it. Only ``pip`` is another: the libraries are there
already, so it unpacks the wheel that it is given, and the job runs the code in that.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

NOW = "2026-11-29T12:00:00.000Z"
T4 = {"type": "gpu", "model": "T4", "quantity": "1", "vram": "16 GB", "manufacturer": "Nvidia"}
HARDWARE = [
    {"name": "cpu-basic", "prettyName": "CPU Basic", "cpu": "2 vCPU", "ram": "16 GB", "accelerator": None,
     "unitCostMicroUSD": 167, "unitCostUSD": 0.000167, "unitLabel": "minute"},
    {"name": "t4-small", "prettyName": "Nvidia T4 - small", "cpu": "4 vCPU", "ram": "15 GB", "accelerator": T4,
     "unitCostMicroUSD": 6667, "unitCostUSD": 0.006667, "unitLabel": "minute"},
]  # fmt: skip
PIP = """#!/bin/bash
for last; do :; done
case "$last" in *.whl) python -m zipfile -e "$last" "$HOME/site" ;; esac
"""
ELSEWHERE = ("DDPM_OUTPUT_DIR", "HF_HOME", "HF_TOKEN")  # of this machine, and not of that


class Machine:
    """A running job; ``asked`` is what the client sent."""

    def __init__(self, asked: dict, name: str, owner: str):
        self.asked, self.name, self.owner, self.cancelled = asked, name, owner, False
        self.home = Path(tempfile.mkdtemp(prefix="job-"))
        pip = self.home / "bin" / "pip"
        pip.parent.mkdir()
        pip.write_text(PIP)
        pip.chmod(0o755)
        own = {
            "HOME": str(self.home),
            "PATH": f"{pip.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(self.home / "site"),
        }
        environment = {key: value for key, value in os.environ.items() if key not in ELSEWHERE}
        self.log = self.home / "log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                asked["command"], cwd=self.home, env=environment | own | asked["environment"] | asked["secrets"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    @property
    def stage(self) -> str:
        code = self.process.poll()
        if code is None:
            return "RUNNING"
        return "CANCELED" if self.cancelled else "ERROR" if code else "COMPLETED"

    @property
    def described(self) -> dict:
        """As the Hub describes a job; of its secrets only the names."""
        return {
            "id": self.name, "createdAt": NOW, "dockerImage": self.asked["dockerImage"], "flavor": self.asked["flavor"],
            "owner": {"id": "1", "name": self.owner, "type": "user"}, "status": {"stage": self.stage, "message": None},
            "secrets": [*self.asked["secrets"]], "command": self.asked["command"],
        }  # fmt: skip

    def cancel(self) -> None:
        self.cancelled = True
        self.kill()

    def kill(self) -> None:
        """End it as a machine that loses its power."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def lines(self) -> Iterator[str]:
        """The lines of its log, until it ends."""
        with open(self.log, encoding="utf-8", errors="replace") as log:
            over = False
            while not over:
                over = self.process.poll() is not None
                yield from (line.rstrip("\n") for line in log)
                time.sleep(0.1)

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self.home)
