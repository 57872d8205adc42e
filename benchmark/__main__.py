"""The command line: one verb a step of the pipeline.

A verb is a module of `benchmark.commands` that defines `add_arguments(parser)` and `main(arguments)`; its docstring is
its help.  Only the verb that is called is imported, so cheap verbs stay cheap.
"""

import argparse
import ast
import errno
import importlib
import os
import sys
import traceback
import warnings
from pathlib import Path

from benchmark.errors import Preempted, UserError

# Threads of torch that wait for each other sleep.  By default they spin, which beside other work slows them manyfold.
# OpenMP reads this when torch is imported, which only the verbs do.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# timm, imported by every ResNet-like method, uses torch.jit.script, which torch deprecates; users cannot fix that.
warnings.filterwarnings("ignore", "`torch.jit.script", category=FutureWarning)
warnings.filterwarnings("ignore", "`torch.jit.script", category=DeprecationWarning)


def verbs() -> dict[str, str]:
    """Every verb and its docstring, found without importing anything."""
    found = {}
    for source in sorted((Path(__file__).parent / "commands").glob("[a-z]*.py")):
        tree = ast.parse(source.read_text())
        if any(isinstance(node, ast.FunctionDef) and node.name == "add_arguments" for node in tree.body):
            found[source.stem] = ast.get_docstring(tree) or ""
    return found


def main(argv: list[str] | None = None) -> int:
    """Run one verb; returns the exit status: 0 done, 1 failed, 2 a user error, 75 preempted and resumable."""
    argv = sys.argv[1:] if argv is None else argv
    known = verbs()
    parser = argparse.ArgumentParser(
        "python -m benchmark", description="DynaLay-Bench, step by step.", allow_abbrev=False,
        epilog="Example: python -m benchmark train --help",
    )  # fmt: skip
    commands = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, text in known.items():
        summary, _, rest = text.partition("\n")
        command = commands.add_parser(
            name, help=summary.rstrip("."), description=summary, epilog=rest.strip(), allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        if name in argv[:1]:
            importlib.import_module(f"benchmark.commands.{name}").add_arguments(command)
    arguments = parser.parse_args(argv)
    try:
        importlib.import_module(f"benchmark.commands.{arguments.verb}").main(arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Preempted as error:
        print(error, file=sys.stderr)
        return 75  # EX_TEMPFAIL: the same command, run again, goes on
    except BrokenPipeError:
        return 1
    except OSError as error:
        print(f"error: {explained(error, arguments.verb)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception as error:  # an unforeseen failure: one line first, for whoever reads the end of many logs
        traceback.print_exc()
        print(f"error: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


#: What to do about errors of the file system.
_REMEDIES = {
    errno.ENOSPC: "The disk is full: free some space, or name folders elsewhere; what was written before is whole.",
    errno.EDQUOT: "The quota is used up: free some space, or name folders elsewhere; what was written before is whole.",
    errno.EFBIG: "The file would be larger than this process may write: see `ulimit -f`.",
    errno.EACCES: "Name folders that you may read and write (--results, --data), or have the rights changed.",
    errno.EPERM: "Name folders that you may read and write (--results, --data), or have the rights changed.",
    errno.EROFS: "The file system is mounted read-only: name folders elsewhere (--results, --data).",
    errno.ENOTDIR: "A part of that path is a file where a folder should be: name another folder.",
    errno.EEXIST: "There is a file where a folder should be: name another folder.",
    errno.EIO: "The disk or the network file system failed: look at the system's log, and run the command again.",
    errno.ESTALE: "The disk or the network file system failed: look at the system's log, and run the command again.",
    errno.ENOSYS: "The file system may know no locks (Lustre mounted without `flock`): name folders elsewhere.",
    errno.ENOLCK: "The file system has no locks to give: name folders elsewhere, or have its lock service looked at.",
}


def explained(error: OSError, verb: str) -> str:
    """An operating system's error in one line: where, what, and the remedy where there is a general one."""
    where = error.filename2 or error.filename or verb
    remedy = _REMEDIES.get(error.errno or 0, "")
    return f"{where}: {error.strerror or error}. {remedy}".rstrip()


if __name__ == "__main__":
    sys.exit(main())
