"""What a run shows on a terminal: one line for the grid, and every detail in the log."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRESS = Path(__file__).parents[2] / "workflow" / "rules" / "progress.smk"
SNAKEFILE = f'''
rule all:
    input: "a.txt", "b.txt", "c.txt"
include: "{PROGRESS}"
rule make:
    output: "{{name}}.txt"
    wildcard_constraints: name="[ab]"
    shell: "echo of-the-job; touch {{output}}"
rule fail:
    output: "c.txt"
    shell: "exit 3"
'''


def run(folder: Path, terminal: bool, *options: str) -> str:
    """All output of a small pipeline, two of whose three jobs succeed."""
    (folder / "Snakefile").write_text(SNAKEFILE)
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--keep-going", *options]
    if not terminal:
        return subprocess.run(command, cwd=folder, capture_output=True, text=True).stderr
    master, slave = pty.openpty()
    process = subprocess.Popen(command, cwd=folder, stdin=slave, stdout=slave, stderr=slave, close_fds=True)
    os.close(slave)
    parts = []
    while True:
        try:
            part = os.read(master, 4096)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        parts.append(part)
    process.wait()
    os.close(master)
    return b"".join(parts).decode(errors="replace")


@pytest.mark.slow
def test_a_terminal_gets_one_line_and_the_log_every_detail(tmp_path):
    shown = run(tmp_path, terminal=True)
    assert "wildcards" not in shown
    assert "Finished jobid" not in shown
    assert re.search(r"\r\x1b\[K\d of \d jobs done(, 1 failed)?; running: [^\n]*; about \d+ min left", shown)
    assert "1 failed" in shown
    assert "Error in rule fail" in shown
    (log,) = (tmp_path / ".snakemake" / "log").glob("*.log")
    assert "wildcards: name=a" in log.read_text()
    assert "Finished jobid" in log.read_text()


@pytest.mark.slow
@pytest.mark.parametrize(("terminal", "options"), [(False, ()), (True, ("--printshellcmds",))])
def test_without_a_terminal_or_when_more_is_asked_for_nothing_changes(tmp_path, terminal, options):
    shown = run(tmp_path, terminal, *options)
    assert "wildcards: name=a" in shown
    assert "jobs done" not in shown
