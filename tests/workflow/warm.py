"""A server that runs `python -m benchmark` and `python -m snakemake` in forks of a process with everything loaded.

Most of a verb's seconds on a miniature go into importing torch, pandas and the like.  Here they are imported once.  The
project's own modules are not, so each fork imports those of the checkout that it is asked to run.

    python warm.py SOCKET                the server
    CLIENT -m benchmark train ...        a script made from `CLIENT` below, given to the pipeline in place of `python`
"""

import array
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HEAVY = (
    "torch", "torchvision", "timm.layers", "fvcore.nn", "pandas", "pyarrow.parquet", "scipy.stats", "sklearn.datasets",
    "pydantic", "tqdm", "yaml", "safetensors.torch", "tabulate", "snakemake.cli",
)  # fmt: skip

CLIENT = """\
#!{python} -ISE
import array, json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    request = json.dumps(dict(arguments=sys.argv[1:], folder=os.getcwd(), environment=dict(os.environ))).encode()
    streams = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))
    server.sendmsg([len(request).to_bytes(4, "big")], [streams])
    server.sendall(request)
    answer = server.recv(1)
sys.exit(answer[0] if answer else 1)
"""


@contextmanager
def serving(folder: Path) -> Iterator[Path]:
    """A client in `folder`, to be called in place of `python`, while a server answers it."""
    address, client = folder / "socket", folder / "bin" / "python"
    client.parent.mkdir()
    client.write_text(CLIENT.format(python=sys.executable, address=str(address)))
    client.chmod(0o755)
    with (folder / "log").open("w") as log:
        server = subprocess.Popen([sys.executable, __file__, str(address)], cwd=folder, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 300
            while not address.exists():
                assert server.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.1)
            yield client
        finally:
            server.terminate()
            server.wait()


def serve(address: str) -> None:
    """Answer clients until the end of the process."""
    for name in HEAVY:
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, lambda *_: wait_for_forks())  # they answer their clients themselves
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen(64)
        while True:
            client, _ = listening.accept()
            with client:
                if os.fork() == 0:
                    listening.close()
                    answer(client)


def wait_for_forks() -> None:
    """Wait for the forks that have ended, so that none is left over and their processor time is counted."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass  # there is no other


def answer(client: socket.socket) -> None:
    """Run what a client asks for, with its streams, folder and environment; tell it the exit status, and end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    streams = array.array("i")
    head, ancillary, *_ = client.recvmsg(4, socket.CMSG_LEN(3 * streams.itemsize))
    streams.frombytes(ancillary[0][2])
    with client.makefile("rb") as file:
        request = json.loads(file.read(int.from_bytes(head, "big")))
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    _, module, *arguments = request["arguments"]
    # As with `python -m`: the folder first, then PYTHONPATH.
    sys.path[0:1] = [request["folder"], *filter(None, os.environ.get("PYTHONPATH", "").split(":"))]
    sys.argv = [module, *arguments]
    status = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        status = 1
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    client.sendall(bytes([status & 255]))
    os._exit(status)


if __name__ == "__main__":
    serve(sys.argv[1])
