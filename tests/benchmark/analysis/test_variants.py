import pytest

from benchmark.analysis.variants import agents, has_agent, variants
from benchmark.experiment import kinds
from tests.benchmark.synthetic import METHODS, Experiment


def test_variants_are_later_methods_of_the_same_kind_named_after_the_first():
    labels = {"resnet8": "resnet", "resnet20": "resnet", "dynalay": "dynalay", "dynalay-a": "dynalay", "act": "act",
             "dynalay-b": "dynalay", "act-x": "branchynet"}  # fmt: skip
    assert variants(labels) == {"dynalay": ["dynalay", "dynalay-a", "dynalay-b"]}
    assert variants({"act": "act", "act-late": "act"}) == {"act": ["act", "act-late"]}


def test_the_first_method_of_each_kind_with_an_agent_is_looked_into():
    assert agents(Experiment().configuration()) == ["dynalay"]
    assert agents(Experiment(methods={"resnet14": METHODS["resnet14"]}).configuration()) == []


@pytest.mark.parametrize("kind", ["dynalay", "resnet", "act", "branchynet"])
def test_whether_there_is_an_agent_is_read_from_the_source_as_the_class_says(kind):
    assert has_agent(kind) == kinds.find("method", kind).load().has_agent  # type: ignore[attr-defined]
