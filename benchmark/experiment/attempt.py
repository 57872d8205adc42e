"""One attempt at a run: it holds its folder alone; a failure is written to run.json and reported in one message."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmark.errors import Interrupted, Preempted, UserError, is_out_of_memory
from benchmark.experiment import provenance
from benchmark.experiment.configuration import Run


@contextmanager
def attempt(run: Run, folder: Path, use_less_memory: str, leads: bool = True) -> Iterator[None]:
    """Work on `run` in `folder`; how it failed, or that it was preempted, goes into run.json.

    Args:
        run: what is worked on.
        folder: where its files lie; made if need be, and cleared of temporary files of writers that were killed.
        use_less_memory: what the user can do if memory runs out, as the end of a sentence.
        leads: whether this process writes for the run; of several that share it, one does.

    Raises:
        UserError: another process is at work on the run, or memory did not suffice; and whatever the body raises.
    """
    if not leads:
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(run, folder):
            _remove_leftovers(folder)
            try:
                yield
            except (Interrupted, KeyboardInterrupt):
                provenance.update(folder, run, status="interrupted")
                raise
            except Preempted:
                provenance.update(folder, run, status="preempted")
                raise
            except Exception as error:
                message = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
                with suppress(OSError, UserError):  # report the first failure
                    provenance.update(folder, run, status="failed", error=message)
                if is_out_of_memory(error):
                    raise UserError(
                        f"{run} ran out of memory ({message.splitlines()[0]}); let fewer runs share the device "
                        f"(--cores, slots per GPU), or {use_less_memory}."
                    ) from None
                raise
    except OSError as error:  # that of a write does not know where it was writing
        error.filename = error.filename or str(folder)
        raise


@contextmanager
def _alone(run: Run, folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which the kernel frees when the process dies."""
    with (folder / ".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{run}: another process is at work in {folder}; wait for it to end, or name another --results folder."
            ) from None
        yield


def _remove_leftovers(folder: Path) -> None:
    """Temporary files of `benchmark.files.atomic_write`; as we are alone, their writers are dead."""
    for leftover in folder.glob(".*-????????.*"):
        leftover.unlink()
