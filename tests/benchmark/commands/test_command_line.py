"""`python -m benchmark`: every step is a verb, every verb explains itself, and the exit status tells how it went."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmark import __main__ as command_line
from benchmark.errors import Preempted, UserError

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("verb", command_line.verbs())
def test_a_verb_explains_itself_with_examples(verb):
    text = command_line.verbs()[verb]
    summary, blank, *rest = text.splitlines()
    assert summary.endswith(".")
    assert blank == ""
    assert f"python -m benchmark {verb}" in "\n".join(rest)


def test_the_steps_of_the_pipeline_are_verbs():
    assert {"check", "data", "train", "evaluate"} <= command_line.verbs().keys()


def test_help_lists_the_verbs_and_a_verbs_help_its_arguments(capsys):
    for arguments, expected in ((["--help"], "Record what a trained run does"), (["train", "--help"], "--restart")):
        with pytest.raises(SystemExit) as ended:
            command_line.main(arguments)
        assert ended.value.code == 0
        assert expected in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: VERB"),
        (["trian"], "invalid choice: 'trian'"),
        (["train"], "the following arguments are required: --config, --dataset, --method, --seed"),
        (["train", "--conf", "x"], "required: --config"),  # no guessing at abbreviations
        (["data", "--dataset"], "--dataset: expected one argument"),
    ],
)
def test_a_wrong_command_is_told_what_is_wrong(capsys, arguments, message):
    with pytest.raises(SystemExit) as ended:
        command_line.main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "last"),
    [
        (None, 0, ""),
        (UserError("no such thing; do this."), 2, "error: no such thing; do this."),
        (Preempted("stopped; run again"), 75, "stopped; run again"),
        (FileNotFoundError(2, "No such file or directory", "x.csv"), 2, "error: x.csv: No such file or directory."),
        (BrokenPipeError(), 1, ""),
        (KeyboardInterrupt(), 130, "interrupted"),
        (ZeroDivisionError("by zero"), 1, "error: ZeroDivisionError: by zero"),
    ],
)
def test_the_exit_status_and_the_last_line_tell_how_it_went(monkeypatch, capsys, error, status, last):
    def work(arguments: object) -> None:
        if error is not None:
            raise error

    verb = SimpleNamespace(add_arguments=lambda parser: None, main=work)
    monkeypatch.setattr(command_line, "verbs", lambda: {"work": "Work."})
    monkeypatch.setattr(command_line.importlib, "import_module", lambda name: verb)
    assert command_line.main(["work"]) == status
    assert capsys.readouterr().err.strip().rpartition("\n")[2] == last


def test_configurations_are_read_without_torch():
    """So that planning a large grid, and a mistake in it, take no seconds."""
    read = "benchmark.experiment.configuration.load('config/quick.yaml').runs()"
    program = f"import sys, benchmark.experiment.configuration; {read}; print('torch' in sys.modules)"
    finished = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert finished.stdout == "False\n"
