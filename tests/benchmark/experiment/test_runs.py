"""Which results belong to a run: what changes its digest, and that results of older code are recognised."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmark.experiment import configuration, provenance
from benchmark.experiment.kinds import Meaning
from benchmark.experiment.runs import Run
from benchmark.experiment.schema import Augmentation, Recipe

ROOT = Path(__file__).parents[3]
REFERENCE = ROOT / "results" / "reference"
MEANING = Meaning(defaults={"depth": 20, "widths": (16, 32)})
RUN = Run(
    "mine", "digits", "small", 0, "digits", {"validation": 0.1}, "resnet", {"depth": 8, "widths": (16, 32)}, Recipe(),
    Meaning(defaults={"validation": 0.1}), MEANING,
)  # fmt: skip


def as_written(run: Run) -> dict[str, Any]:
    """What the run's run.json says, read back."""
    return json.loads(json.dumps({"run": str(run), "digest": run.digest, **run.resolved()}))


def with_method(parameters: dict[str, Any], **meaning: Any) -> Run:
    return replace(RUN, method_parameters=parameters, method_meaning=Meaning(**meaning))


# What later code may look like: (the run's method as it is then, whether old results are still its own).
LATER = {
    "unchanged": (RUN, True),
    "a new parameter with a default": (
        with_method(
            {"depth": 8, "widths": (16, 32), "pool": "average"}, defaults={**MEANING.defaults, "pool": "average"}
        ),
        True,
    ),
    "a new parameter with another value": (
        with_method(
            {"depth": 8, "widths": (16, 32), "pool": "maximum"}, defaults={**MEANING.defaults, "pool": "average"}
        ),
        False,
    ),
    "another value": (with_method({"depth": 14, "widths": (16, 32)}, defaults=MEANING.defaults), False),
    "a higher version": (
        with_method({"depth": 8, "widths": (16, 32)}, defaults=MEANING.defaults, version=2), False,
    ),
    "a distribution": (
        with_method({"depth": 8, "widths": (16, 32)}, defaults=MEANING.defaults, distribution="theirs 1.0"), False,
    ),
    "another seed": (replace(RUN, seed=1), False),
    "another recipe": (replace(RUN, recipe=Recipe(epochs=3)), False),
    "another augmentation": (replace(RUN, recipe=Recipe(augmentation=Augmentation(flip=True))), False),
    "another kind": (replace(RUN, method_kind="act"), False),
    "another dataset": (replace(RUN, dataset_parameters={"validation": 0.2}), False),
}  # fmt: skip


@pytest.mark.parametrize("change", LATER)
def test_old_results_belong_to_a_run_that_means_the_same(change):
    later, same = LATER[change]
    assert later.is_described_by(as_written(RUN)) == same
    assert (later.digest == RUN.digest) == same


def test_a_changed_default_makes_results_stale_that_relied_on_it():
    then = with_method({"depth": 20, "widths": (16, 32)}, defaults=MEANING.defaults)
    now = with_method({"depth": 14, "widths": (16, 32)}, defaults={**MEANING.defaults, "depth": 14})
    assert not now.is_described_by(as_written(then))
    given = with_method({"depth": 20, "widths": (16, 32)}, defaults={**MEANING.defaults, "depth": 14})
    assert given.is_described_by(as_written(then))


@pytest.mark.parametrize(("value", "same"), [(1.0, True), (0.5, False)])
def test_a_retired_parameter_must_have_had_its_retired_value(value, same):
    then = with_method(
        {"depth": 8, "widths": (16, 32), "damping": value}, defaults={**MEANING.defaults, "damping": 1.0}
    )
    now = with_method({"depth": 8, "widths": (16, 32)}, defaults=MEANING.defaults, retired={"damping": 1.0})
    assert now.is_described_by(as_written(then)) == same
    unretired = with_method({"depth": 8, "widths": (16, 32)}, defaults=MEANING.defaults)
    assert not unretired.is_described_by(as_written(then))


def test_what_is_not_a_description_describes_nothing():
    for description in ({}, {"seed": 0}, {**as_written(RUN), "method": None}, {**as_written(RUN), "recipe": []}):
        assert not RUN.is_described_by(description)


@pytest.mark.parametrize("experiment", sorted(path.name for path in REFERENCE.glob("*/")))
def test_the_published_results_are_those_of_their_configurations(experiment):
    runs = configuration.load(ROOT / "config" / f"{experiment}.yaml").runs()
    assert runs
    for run in runs:
        assert run.is_described_by(provenance.read(run.folder(REFERENCE))), run


def test_weights_that_older_code_signed_are_the_runs(tmp_path):
    older = {**as_written(RUN), "digest": "c007f1b6313b5fea", "training_seconds": 1.0}
    (tmp_path / "run.json").write_text(json.dumps(older))
    assert provenance.owns(RUN, provenance.read(tmp_path), "c007f1b6313b5fea")
    assert provenance.owns(RUN, provenance.read(tmp_path), RUN.digest)
    assert not provenance.owns(RUN, provenance.read(tmp_path), "0123456789abcdef")
    assert not provenance.owns(replace(RUN, seed=1), provenance.read(tmp_path), "c007f1b6313b5fea")
    provenance.update(tmp_path, RUN, status="evaluated")  # run.json is rewritten, the weights are not
    assert provenance.owns(RUN, provenance.read(tmp_path), "c007f1b6313b5fea")
    assert provenance.read(tmp_path)["training_seconds"] == 1.0
