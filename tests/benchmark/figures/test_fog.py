"""Compute in fog: an agent that knows what it cannot answer, and controls that spend as much."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from benchmark import figures
from benchmark.analysis import summary
from benchmark.evaluation import records
from benchmark.experiment.configuration import Run
from benchmark.figures import Evidence, Style
from tests.benchmark.synthetic import METHODS, Experiment


class Fogged(Experiment):
    """The harder half of the samples has a hidden gate."""

    def records(self, run: Run) -> pd.DataFrame:
        table = super().records(run)
        codes = (table["difficulty"] > 0.5).astype(int)
        return table.assign(group=pd.Categorical.from_codes(codes, ["clear", "gate hidden"]))


@pytest.fixture(scope="module")
def evidence(tmp_path_factory):
    results = tmp_path_factory.mktemp("results")
    experiment = Fogged(datasets={"maze": True}, methods={name: METHODS[name] for name in ("resnet14", "dynalay")},
                        samples=200, points=5)  # fmt: skip
    configuration = experiment.write(results)
    summary.write(configuration, results)
    return Evidence(configuration, results)


def test_the_summary_has_each_groups_accuracy_and_compute(evidence):
    run = evidence.configuration.run("maze", "dynalay", 1)
    raw = records.read(run.folder(evidence.results) / "records.parquet")
    raw = raw[raw["split"] == "test"].assign(right=raw["label"] == raw["prediction"])
    expected = raw.groupby(["operating_point", "group"], observed=True)[["right", "macs"]].mean()
    found = evidence.outcomes.table("groups").query("method == 'dynalay' and seed == 1")
    found = found.set_index(["operating_point", "group"]).sort_index()
    assert len(found) == len(expected)
    np.testing.assert_allclose(found[["accuracy", "macs"]], expected.loc[found.index])
    assert (found.groupby("operating_point")["samples"].sum() == 200).all()


def test_controls_spend_what_the_agent_spends(evidence):
    data = figures.find("fog").data(evidence)
    spent = data[data["quantity"] == "MACs"].set_index(["policy", "group"])["value"]
    groups = evidence.outcomes.table("groups").query("method == 'dynalay' and seed == 0")
    share = groups.drop_duplicates("group").set_index("group")["samples"] / 200
    means = {policy: (spent[policy] * share).sum() for policy in ("agent", "max_probability", "schedule")}
    assert means["max_probability"] == pytest.approx(means["agent"])
    assert means["schedule"] == pytest.approx(means["agent"])
    assert spent["schedule", "clear"] == pytest.approx(spent["schedule", "gate hidden"])
    assert spent["agent", "gate hidden"] > spent["agent", "clear"], "it spends by difficulty"
    middle = evidence.outcomes.chosen(lambda _, curve: curve.middle()).query("method == 'dynalay'")
    assert means["agent"] == pytest.approx(middle["macs"].mean())


def test_it_is_drawn_for_mazes_with_fog_alone(evidence, tmp_path):
    assert "fog" not in figures.applicable(evidence.configuration)
    fogged = replace(evidence.configuration, dataset_parameters={"maze": {"fog": 0.3}})
    assert "fog" in figures.applicable(fogged)
    module = figures.find("fog")
    with figures.applied():
        picture = module.draw(module.data(evidence), Style(["resnet14", "dynalay"]))
    assert [panel.get_title(loc="left") for panel in picture.axes] == ["maze: MACs", "maze: accuracy (%)"]
    assert [label.get_text() for label in picture.axes[0].get_xticklabels()] == ["clear", "gate\nhidden"]
