"""Kernels that begin as copies of one process which has imported PyTorch and the like.

A notebook takes longer to import these than to do its work, so that running all of them would be
importing, mostly. The package itself is not among the imports: each notebook makes them.
"""

import atexit
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess

IMPORTED = (
    "matplotlib.pyplot",
    "pandas",
    "scipy.stats",
    "sklearn.decomposition",
    "spacy",
    "torch",
    "transformers.models.bloom.modeling_bloom",
    "transformers.models.clip.modeling_clip",
    "transformers.models.dinov2.modeling_dinov2",
    "transformers.models.llama.modeling_llama",
    "xarray",
    "zarr",
    "ipykernel.kernelapp",
    "matplotlib_inline.backend_inline",
)


class Kernel:
    "What jupyter_client needs of a Popen, of a process that is none."

    stdin = stdout = stderr = None

    def __init__(self, process: BaseProcess):
        self.process, self.pid = process, process.pid

    def poll(self) -> int | None:
        return self.process.exitcode

    def wait(self, timeout: float | None = None) -> int | None:
        self.process.join(timeout)
        return self.process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def share_imports(patch) -> None:
    "From now on, kernels that this process starts are copies; `patch` is pytest's monkeypatch."
    from jupyter_client.provisioning import LocalProvisioner

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*IMPORTED])
    with patch.context() as here:  # a kernel chooses this before it imports matplotlib
        here.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
        forkserver.ensure_running()
    ask = "import sys; print(*sys.path[1:], sep='\\n')"
    own_paths = subprocess.check_output([sys.executable, "-E", "-c", ask], text=True).splitlines()

    async def launch_kernel(self, cmd, **options):
        env = options["env"]
        paths = [path for path in env.get("PYTHONPATH", "").split(os.pathsep) if path]
        folder = os.path.abspath(options.get("cwd") or ".")
        process = context.Process(
            target=run_kernel,
            args=(cmd[cmd.index("ipykernel_launcher") + 1 :], folder, env, [*paths, *own_paths]),
            daemon=True,  # it ends with this process
        )
        process.start()
        self.process = Kernel(process)
        self.pid = self.pgid = process.pid  # it leads a group of its own
        self.cwd = options.get("cwd")
        return self.connection_info

    patch.setattr(LocalProvisioner, "launch_kernel", launch_kernel)


def run_kernel(words: list[str], folder: str, env: dict[str, str], paths: list[str]) -> None:
    "What `python -m ipykernel_launcher` does."
    import pandas as pd
    import torch
    from ipykernel import kernelapp

    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    sys.path[:] = paths
    parent = multiprocessing.parent_process()
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()
    process = multiprocessing.current_process()
    process.name, process.daemon = "MainProcess", False  # it may have children
    multiprocessing.set_start_method(None, force=True)  # the usual one
    pd.set_option("display.max_columns", 20)  # as where it is imported in a notebook
    if "OMP_NUM_THREADS" in env:  # which PyTorch has read before
        torch.set_num_threads(int(env["OMP_NUM_THREADS"]))
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    kernelapp.launch_new_instance(argv=words)
    atexit._run_exitfuncs()
