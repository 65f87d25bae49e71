"""Processes that begin with the libraries already imported.

A new Python takes five to ten seconds of a core to import what a run or a server needs, which hundreds of processes of
the tests would each pay anew. Here one process a worker of pytest imports it once and forks. What is forked is a
process like any other: its own id, session, streams, environment and limits, a child of the process that started it,
and it ends as Python ends. That the imports are complete is for the tests that start a process in the ordinary way.
"""

import array
import contextlib
import ctypes
import gc
import importlib
import json
import os
import runpy
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Not huggingface_hub, which reads the environment when it is imported, nor what starts threads.
LIBRARIES = (
    "torch", "torch._dynamo", "sklearn.datasets", "scipy.stats", "matplotlib.figure", "matplotlib.backends.backend_agg",
    "pandas", "plotly.graph_objects", "psutil", "streamlit", "streamlit.web.cli", "streamlit.web.bootstrap",
    "streamlit.testing.v1", "ddpm.cli", "ddpm.cli.evaluation", "ddpm.cli.hub", "ddpm.cli.looking", "ddpm.cli.sampling",
    "ddpm.cli.training", "ddpm.training.preflight", "ddpm.training.queue", "ddpm.training.run", "ddpm.training.runs",
    "ddpm.training.distributed", "ddpm.evaluation.evaluate", "ddpm.evaluation.job", "ddpm.media.report",
)  # fmt: skip
PR_SET_CHILD_SUBREAPER = 36
SIZE = 1 << 20  # of a request, in bytes


def possible() -> bool:
    """Whether a forked process can be handed to another parent: on Linux."""
    return sys.platform == "linux"


class Warm:
    """The process that imports and forks."""

    def __init__(self):
        self.here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # A thread of pandas' allocator that frees memory would not outlive a fork.
        self.environment = os.environ | {"PYTHONPATH": str(ROOT), "JE_ARROW_MALLOC_CONF": "background_thread:false"}
        self.lock = threading.Lock()
        with there:
            self.process = subprocess.Popen(
                [sys.executable, __file__, str(there.fileno())], cwd=ROOT, env=self.environment,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[there.fileno()], start_new_session=True,
            )  # fmt: skip

    def close(self) -> None:
        self.here.close()  # at which it ends
        self.process.wait(60)

    def suits(self, args, env) -> bool:
        """Whether a command is one that would begin with the same imports in the same environment."""
        words = [os.fspath(word) for word in args] if isinstance(args, (list, tuple)) else []
        env = os.environ if env is None else env
        same = all(env.get(name) == self.environment.get(name) for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY"))
        return len(words) > 2 and words[0] == sys.executable and words[1] in ("-m", "-c") and same

    def fork(self, args, cwd, env, new_session: bool, streams: list[int]) -> int:
        """Start a process; its id. ``streams`` are its stdin, stdout and stderr."""
        asked = {"args": [os.fspath(word) for word in args[1:]], "cwd": os.fspath(cwd or os.getcwd()),
                 "env": {**(os.environ if env is None else env)}, "new_session": new_session}  # fmt: skip
        descriptors = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", streams))]
        prctl = ctypes.CDLL(None).prctl
        with self.lock:
            # The process is forked twice: its parent ends at once, and it becomes a child of this process.
            prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
            try:
                self.here.sendmsg([json.dumps(asked).encode()], descriptors)
                answer = self.here.recv(64)
            finally:
                prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        if not answer:
            raise OSError("the process that imports and forks has ended")
        return int(answer)


@contextlib.contextmanager
def warm_popen(warm: Warm) -> Iterator[type]:
    """``subprocess.Popen`` that takes a new Python from ``warm`` where that suits."""

    class Popen(subprocess.Popen):
        def _execute_child(self, args, executable, preexec_fn, close_fds, pass_fds, cwd, env, *rest):
            plain = executable is None and preexec_fn is None and not pass_fds
            if not plain or not warm.suits(args, env):
                return super()._execute_child(args, executable, preexec_fn, close_fds, pass_fds, cwd, env, *rest)
            pipes, new_session = rest[3:9], rest[-2]
            stdin, _, _, stdout, _, stderr = pipes
            streams = [own if end == -1 else end for own, end in enumerate((stdin, stdout, stderr))]
            self.pid = warm.fork(args, cwd, env, new_session, streams)
            self._child_created = True
            self._close_pipe_fds(*pipes)

    original, subprocess.Popen = subprocess.Popen, Popen
    try:
        yield Popen
    finally:
        subprocess.Popen = original


# -- in the process that imports and forks ---------------------------------------------------------------------------


def serve(channel: socket.socket) -> list[str]:
    """Fork at every request; returns in what was forked, with the words that followed ``python``."""
    while True:
        request, streams, _, _ = socket.recv_fds(channel, SIZE, 3)
        if not request:
            os._exit(0)
        reading, writing = os.pipe()
        if between := os.fork():
            os.close(writing)
            for stream in streams:
                os.close(stream)
            os.waitpid(between, 0)
            channel.send(os.read(reading, 64))
            os.close(reading)
            continue
        if forked := os.fork():
            os.write(writing, str(forked).encode())
            os._exit(0)
        for descriptor in (reading, writing, channel.fileno()):
            os.close(descriptor)
        return _become(json.loads(request), streams)


def _become(asked: dict, streams: list[int]) -> list[str]:
    if asked["new_session"]:
        os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(asked["env"])
    os.chdir(asked["cwd"])
    return asked["args"]


def run(words: list[str]) -> None:
    """What ``python`` does with these words: -m MODULE or -c CODE, and arguments."""
    kind, what, *arguments = words
    sys.path.insert(0, "" if kind == "-c" else os.getcwd())
    sys.argv = [kind, *arguments]
    if kind == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        exec(compile(what, "<string>", "exec"), {"__name__": "__main__", "__builtins__": __builtins__})


def main() -> None:
    for name in LIBRARIES:
        importlib.import_module(name)
    assert len(os.listdir("/proc/self/task")) == 1, "what has threads cannot be forked"
    assert "huggingface_hub" not in sys.modules
    del sys.path[0]  # the folder of this file
    gc.collect()
    gc.freeze()
    run(serve(socket.socket(fileno=int(sys.argv[1]))))


if __name__ == "__main__":
    main()
