"""Sampling and a training step on an idle machine, and beside twice as many busy processes as it has cores.

Ours splits a batch over the cores (``ddpm.device.over_cores``); in training OpenMP's threads sleep while they wait. It
takes turns with what PyTorch does by itself: as many OpenMP threads as there are cores compute every layer, and spin
while they wait for each other. A fair share of the cores is a third of them, so a busy machine should take three times
as long as an idle one.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

from ddpm import models
from ddpm.config import load_config
from ddpm.errors import DDPMError
from ddpm.sampling import generate

from .machine import Machine
from .overhead import CONFIG, bare_step
from .rows import Row, turns

BATCH, STEPS = 128, 50  # of configs/mnist.yaml
TRAIN = "train"
OURS, THREADS = "ours", "OpenMP threads that spin"
SPIN = {"OMP_WAIT_POLICY": "ACTIVE", "GOMP_SPINCOUNT": "300000"}  # GNU OpenMP's default, by what overrides ours


ROUNDS = {"1": (5, 3), "2": (5, 1), "4": (5, 1), "10": (5, 2), "64": (3, 1), TRAIN: (3, 2)}
"""How many rounds on the idle machine and on the busy one: a batch of 64 takes OpenMP's threads minutes there."""


def rows(machine: Machine, quick: bool) -> list[Row]:
    rounds = {"1": (2, 1), "10": (2, 1)} if quick else ROUNDS
    with ExitStack() as stack:
        workers = {OURS: stack.enter_context(worker(OURS, {})), THREADS: stack.enter_context(worker(THREADS, SPIN))}
        hogs = 2 * machine.cores
        wake = stack.enter_context(busy_processes(hogs))
        return [row for work, counts in rounds.items() for row in _rows(work, counts, workers, wake, hogs)]


def _rows(
    work: str, rounds: tuple[int, int], workers: dict[str, Callable], wake: Callable[[bool], None], hogs: int
) -> list[Row]:
    seconds: dict[bool, dict[str, list[float]]] = {busy: {name: [] for name in workers} for busy in (False, True)}
    for number in range(max(rounds)):
        for busy, count in zip((False, True), rounds, strict=True):
            if number < count:
                wake(busy)
                for name in turns(list(workers), number):
                    seconds[busy][name].append(workers[name](work))
    wake(False)
    pairs = {name: zip(seconds[True][name], seconds[False][name], strict=False) for name in workers}
    slower = {name: [busy / idle for busy, idle in pairs[name]] for name in workers}
    what = f"training step, batch of {BATCH}" if work == TRAIN else f"{work} image{'s' * (work != '1')}, {STEPS} steps"
    found = [("idle", "s", seconds[False]), (f"beside {hogs} busy processes", "s", seconds[True]),
             ("busy over idle", "times", slower)]  # fmt: skip
    return [
        Row.measured("busy", f"{what}, {how}", unit, values[OURS], values[THREADS], peer_name=THREADS)
        for how, unit, values in found
    ]


@contextmanager
def busy_processes(count: int) -> Iterator[Callable[[bool], None]]:
    """Processes that only compute, asleep at first; yields what wakes them (True) and puts them to sleep (False)."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]

    def wake(state: bool) -> None:
        for process in processes:
            process.send_signal(signal.SIGCONT if state else signal.SIGSTOP)
        time.sleep(0.5)  # until the system has spread them over the cores

    try:
        wake(False)
        yield wake
    finally:
        for process in processes:
            process.kill()
            process.wait()


@contextmanager
def worker(kind: str, environment: dict[str, str]) -> Iterator[Callable[[str], float]]:
    """A process of its own, since OpenMP reads how to wait when it is loaded; yields what does a work there, and says
    how many seconds that took."""
    command = [sys.executable, "-m", "benchmarks.busy", kind]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen(command, env=os.environ | environment, text=True, **pipes)

    def do(work: str) -> float:
        process.stdin.write(f"{work}\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        if not answer:
            raise DDPMError(f"busy: the process of {kind!r} ended; its last lines above say why")
        return float(answer)

    try:
        for work in ("1", TRAIN):  # what comes only once
            do(work)
        yield do
    finally:
        process.stdin.close()
        process.terminate()
        process.wait()


def serve(kind: str) -> None:
    """Do what comes in, a work a line, and answer with the seconds it took."""
    model, step = models.load_model("mnist"), bare_step(load_config(CONFIG, ["training.device=cpu"]))
    if kind == THREADS:
        mock.patch.object(models, "over_cores", lambda function: function).start()
    for work in map(str.strip, sys.stdin):
        started = time.perf_counter()
        if work == TRAIN:
            step()
        else:
            generate(model, int(work), labels=range(model.num_classes))
        print(time.perf_counter() - started, flush=True)


if __name__ == "__main__":
    serve(sys.argv[1])
