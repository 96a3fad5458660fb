"Schedulers and workers of Dask as processes of their own, to be stopped, killed and started again."

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

PATIENCE = 300.0  # seconds; a busy machine takes a minute to start a process that imports torch


def until(true: Callable[[], object], within: float = PATIENCE) -> None:
    "Wait until something is true."
    deadline = time.monotonic() + within
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


class Processes:
    "Processes of Dask, all of which end with the block."

    def __init__(self):
        self.running: list[subprocess.Popen] = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in [*self.running]:
            self.kill(process)

    def _start(self, *words: str) -> subprocess.Popen:
        paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
        env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        command = [sys.executable, "-m", *words]
        process = subprocess.Popen(command, env=env, start_new_session=True, **quiet)
        self.running.append(process)
        return process

    def scheduler(self, port: int) -> subprocess.Popen:
        return self._start(
            "distributed.cli.dask_scheduler", "--host=127.0.0.1", f"--port={port}", "--no-dashboard"
        )

    def worker(self, port: int, folder: Path, *words: str) -> subprocess.Popen:
        return self._start(
            "distributed.cli.dask_worker",
            f"tcp://127.0.0.1:{port}",
            "--nthreads=1",
            "--no-dashboard",
            f"--death-timeout={PATIENCE:.0f}",
            f"--local-directory={folder}",
            "--preload=seeing_words.core.cluster",
            *words,
        )

    def kill(self, process: subprocess.Popen) -> None:
        "Kill a process with all that it has started."
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
        if process in self.running:
            self.running.remove(process)


class Diary:
    "A file in which tasks note what they begin, whatever becomes of them afterwards."

    def __init__(self, path: Path):
        self.path = str(path)

    def note(self, what: object) -> None:
        with open(self.path, "a") as file:
            file.write(f"{what} {os.getpid()}\n")

    def lines(self) -> list[list[str]]:
        if not Path(self.path).exists():
            return []
        return [line.split() for line in Path(self.path).read_text().splitlines()]

    def pid(self, what: object) -> int:
        "The process that noted it first, once it has."
        until(lambda: any(line[0] == str(what) for line in self.lines()))
        return next(int(line[1]) for line in self.lines() if line[0] == str(what))

    def times(self, what: object) -> int:
        return sum(line[0] == str(what) for line in self.lines())
