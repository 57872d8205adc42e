import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from benchmark.data import load
from benchmark.evaluation import records
from tests.benchmark.miniature import Miniature
from tests.benchmark.synthetic import Experiment, component_macs


@pytest.fixture(scope="module")
def run_records():
    experiment = Experiment(samples=20, points=2)
    run = experiment.configuration().run("maze", "dynalay", 0)
    return experiment.records(run), component_macs(experiment.methods["dynalay"])


def test_what_is_written_is_read(run_records, tmp_path):
    table, _ = run_records
    records.write(tmp_path / "records.parquet", table)
    back = records.read(tmp_path / "records.parquet")
    table = table.assign(confidence=table["confidence"].astype("float32").round(3))
    pd.testing.assert_frame_equal(back.astype({"split": str, "policy": str, "operating_point": str}),
                                  table.astype({"split": str, "policy": str, "operating_point": str}))  # fmt: skip
    assert isinstance(back["policy"].dtype, pd.CategoricalDtype)
    assert records.columns(tmp_path / "records.parquet") == list(back.columns)


def test_columns_are_selected_and_types_are_those_documented(run_records, tmp_path):
    table, _ = run_records
    records.write(tmp_path / "records.parquet", table.astype({"macs": "int32", "note.action1": "int64"}))
    part = records.read(tmp_path / "records.parquet", columns=["macs", "note.action1", "executions.direct"])
    assert list(part.dtypes.astype(str)) == ["int64", "int16", "int16"]


def test_the_same_records_give_the_same_bytes(run_records, tmp_path):
    table, _ = run_records
    as_text = table.astype({"split": object, "policy": object, "operating_point": object})
    reordered = table[[*reversed(table.columns[:10]), *table.columns[10:]]]
    for name, variant in (("a", table), ("b", as_text), ("c", reordered)):
        records.write(tmp_path / name, variant)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes()


def test_groups_of_samples_are_recorded_by_name_where_the_dataset_has_any(tmp_path):
    fogged = {"size": 8, "longest": 4, "fog": 0.5, "train": 24, "validation": 12, "test": 24}
    for name, parameters in (("fog", fogged), ("clear", fogged | {"fog": 0.0})):
        changes = {"datasets/digits": {"kind": "maze", "parameters": parameters}, "recipe/epochs": 1}
        miniature = Miniature(tmp_path / name, tmp_path / "data", changes)
        assert [miniature(verb) for verb in ("train", "evaluate")] == [0, 0]
        path = miniature.run / "records.parquet"
        assert ("group" in records.columns(path)) == (name == "fog")
        if name == "fog":
            table = records.read(path)
            dataset = load("maze", parameters, tmp_path / "data")
            for split in ("validation", "test"):
                part = table[table["split"] == split]
                names = np.array(dataset.groups)[getattr(dataset, split).group.numpy()]
                assert (part["group"].to_numpy(str) == names[part["sample"]]).all()
                assert set(names) == set(dataset.groups)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda table: table.drop(columns="macs"), "lack the columns"),
        (lambda table: table.assign(extra=1), "have unknown ones"),
        (lambda table: table.iloc[:0], "no row"),
        (lambda table: table.iloc[1:], "not 10 samples"),
        (lambda table: table.assign(sample=table["sample"].where(table["sample"] != 3, 4)), "twice"),
        (lambda table: table.assign(label=np.arange(len(table), dtype="int16")), "two labels"),
        (lambda table: table.assign(confidence=table["confidence"] + 1), "confidence"),
        (lambda table: table.assign(split="train"), "splits"),
    ],
)
def test_broken_records_are_refused_and_nothing_is_written(run_records, tmp_path, spoil, message):
    with pytest.raises(ValueError, match=message):
        records.write(tmp_path / "records.parquet", spoil(run_records[0]))
    assert not list(tmp_path.iterdir())


def test_compute_must_follow_from_the_executions(run_records):
    table, costs = run_records
    records.check(table, costs)
    with pytest.raises(ValueError, match="executions times"):
        records.check(table, {**costs, "direct": costs["direct"] + 1})


def test_a_count_too_large_for_its_column_is_refused(run_records, tmp_path):
    table = run_records[0].assign(**{"executions.direct": 2**15})
    with pytest.raises(pa.ArrowInvalid):
        records.write(tmp_path / "records.parquet", table)
