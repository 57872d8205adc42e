"""Whatever is edited, deleted, moved or swapped between two runs of the pipeline, the tables are those of a fresh one.

Each sequence starts from a finished grid, makes random edits with runs of the pipeline in between, and compares the
tables at the end with those of a run from nothing of the same configuration and the same code.
"""

import random
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests.workflow.pipeline import ROOT, copy_checkout

GRID = """\
{remark}
experiment: miniature
seeds: {seeds}
reference: small
recipe: {{epochs: {epochs}, batch_size: 16}}
datasets:
  digits: {{parameters: {{train_samples: {samples}, test: 20, validation: 20}}}}
methods:
  small: {{kind: resnet, parameters: {{depth: 8, channels: [2, 2, 2]}}}}
  large: {{kind: resnet, parameters: {{depth: 8, channels: [2, 2, {channels}]}}}}
"""
REPORTS = "benchmark/commands/tables.py"  # what an edit of the code changes
FEW, MANY = 3, 40
EDITS = 4


@dataclass
class Project:
    """A checkout, a configuration, and folders of data and results, all of which are edited."""

    around: Path
    python: Path
    results: str = "results"
    data: str = "data"
    moves: int = 0
    settings: dict[str, object] = field(
        default_factory=lambda: {"seeds": 2, "epochs": 1, "samples": 32, "channels": 4, "remark": "# a grid"}
    )
    code: int = 0

    @property
    def experiment(self) -> Path:
        return self.around / self.results / "miniature"

    def runs(self) -> list[Path]:
        return sorted(self.experiment.glob("digits/*/seed*"))

    def meaning(self) -> tuple[object, ...]:
        """What the tables depend on."""
        return (self.code, *(value for key, value in self.settings.items() if key != "remark"))

    def run(self) -> None:
        """The pipeline up to the tables."""
        (self.around / "grid.yaml").write_text(GRID.format(**self.settings))
        settings = ["experiment=grid.yaml", f"results={self.results}", f"data={self.data}"]
        snakefile = self.around / "checkout" / "Snakefile"
        command: list[str | Path] = [
            self.python,
            "-m",
            "snakemake",
            "--snakefile",
            snakefile,
            "--cores",
            "1",
            "--until",
            "tables",
        ]
        environment = {"PATH": f"{self.python.parent}:/usr/bin:/bin", "OMP_NUM_THREADS": "1", "HOME": str(self.around)}
        finished = subprocess.run(
            [*command, "--config", *settings], cwd=self.around, env=environment, capture_output=True, text=True,
            timeout=600,
        )  # fmt: skip
        assert finished.returncode == 0, finished.stdout + finished.stderr

    def tables(self) -> dict[str, str]:
        """Every table, without the lines that a clock measures."""
        files = sorted((self.experiment / "tables").glob("*.csv"))
        assert files
        shown = {
            path.name: "\n".join(line for line in path.read_text().splitlines() if "training_seconds" not in line)
            for path in files
        }
        captions = {path.name: path.read_text().partition("|")[0] for path in (self.experiment / "tables").glob("*.md")}
        return shown | captions


# --- edits -----------------------------------------------------------------------------------------------------------


def change(key: str, values: tuple[object, ...]) -> Callable[[Project, random.Random], None]:
    def edit(project: Project, dice: random.Random) -> None:
        project.settings[key] = dice.choice(values)

    edit.__name__ = f"change {key}"
    return edit


def rewrite_reports(project: Project, dice: random.Random) -> None:
    project.code = 1 - project.code
    code = (ROOT / REPORTS).read_text()
    if project.code:
        code = code.replace("(Outcomes(folder))", "(Outcomes(folder))[1:]")  # one table less
        assert "[1:]" in code
    (project.around / "checkout" / REPORTS).write_text(code)


def forget_notes(project: Project, dice: random.Random) -> None:
    shutil.rmtree(project.around / ".snakemake", ignore_errors=True)


def move_results(project: Project, dice: random.Random) -> None:
    project.moves += 1
    moved = f"the {project.moves}. folder of $HOME's"
    (project.around / project.results).rename(project.around / moved)
    project.results = moved


def copy_results(project: Project, dice: random.Random) -> None:
    """As `cp -r` does: all files are new, in an order of its own."""
    project.moves += 1
    copied = f"copy {project.moves}"
    shutil.copytree(project.around / project.results, project.around / copied, copy_function=shutil.copyfile)
    project.results = copied


def move_data(project: Project, dice: random.Random) -> None:
    project.moves += 1
    project.data = f"./data {project.moves}/"


def delete_data(project: Project, dice: random.Random) -> None:
    shutil.rmtree(project.around / project.data, ignore_errors=True)


def delete_a_run(project: Project, dice: random.Random) -> None:
    if runs := project.runs():
        shutil.rmtree(dice.choice(runs))


def delete_a_file(project: Project, dice: random.Random) -> None:
    names = ("run.json", "records.parquet", "costs.json", "trained", "history.csv", "train.log")
    files = [folder / name for folder in project.runs() for name in names if (folder / name).exists()]
    files += (project.experiment / "tables").glob("*.csv")
    if files:
        dice.choice(sorted(files)).unlink()


def delete_reports(project: Project, dice: random.Random) -> None:
    shutil.rmtree(project.experiment / dice.choice(("tables", "summary", "logs")), ignore_errors=True)


def swap_runs(project: Project, dice: random.Random) -> None:
    if len(runs := project.runs()) >= 2:
        one, other = dice.sample(runs, 2)
        aside = one.with_name("aside")
        one.rename(aside)
        other.rename(one)
        aside.rename(other)


ALL = (
    change("epochs", (1, 2)),
    change("channels", (4, 6)),
    change("samples", (32, 48)),
    change("seeds", (1, 2)),
    change("remark", ("# a grid", "# a remark")),
    rewrite_reports, forget_notes, move_results, copy_results, move_data, delete_data, delete_a_run, delete_a_file,
    delete_reports, swap_runs,
)  # fmt: skip


# --- the comparison --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A finished grid, to be copied."""
    project = Project(tmp_path_factory.mktemp("finished"), python)
    copy_checkout(project.around / "checkout")
    project.run()
    return project


@pytest.fixture(scope="module")
def fresh(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Project], dict[str, str]]:
    """The tables of a run from nothing; made once for each meaning."""
    known = {finished.meaning(): finished.tables()}

    def tables(project: Project) -> dict[str, str]:
        if project.meaning() not in known:
            around = tmp_path_factory.mktemp("fresh")
            shutil.copytree(project.around / "checkout", around / "checkout", symlinks=True)
            other = replace(project, around=around, results="results", data="data")
            other.run()
            known[project.meaning()] = other.tables()
        return known[project.meaning()]

    return tables


@pytest.mark.slow
@pytest.mark.parametrize(
    "number", [*range(FEW), *(pytest.param(n, marks=pytest.mark.thorough) for n in range(FEW, MANY))]
)
def test_tables_are_those_of_a_run_from_nothing(number, finished, fresh, tmp_path):
    dice = random.Random(number)
    around = tmp_path / "project"
    shutil.copytree(finished.around, around, symlinks=True)
    project = replace(finished, around=around, settings=dict(finished.settings))
    made = []
    for edit in dice.choices(ALL, k=EDITS):
        edit(project, dice)
        made.append(edit.__name__)
        if dice.random() < 0.3:
            project.run()
            made.append("run")
    project.run()
    assert project.tables() == fresh(project), f"after {', '.join(made)}"
