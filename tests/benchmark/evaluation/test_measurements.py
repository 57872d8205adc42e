"""Timings and other measurements that an older version wrote, or that are damaged, are holes and stop nothing."""

import pandas as pd
import pytest

from benchmark import __main__ as command_line
from benchmark.analysis import summary, tables
from benchmark.analysis.outcomes import Outcomes
from benchmark.evaluation import measurements
from benchmark.experiment import configuration as configurations
from benchmark.figures import Evidence, accuracy_latency
from tests.benchmark.synthetic import Adaptive, Experiment, Static, Truth

HEADED = [(name, column) for name, kinds in measurements.COLUMNS.items() for column in (*kinds[0], *kinds[1])]


def whole(name: str) -> pd.DataFrame:
    return pd.DataFrame({column: [1, 2] for column in (*measurements.COLUMNS[name][0], *measurements.COLUMNS[name][1])})


@pytest.mark.parametrize(("name", "column"), HEADED)
def test_a_column_that_a_file_lacks_is_a_hole(tmp_path, name, column):
    whole(name).drop(columns=column).to_csv(tmp_path / name, index=False)
    table = measurements.read(tmp_path, name)
    assert set(table) == set(whole(name))
    if column in measurements.COLUMNS[name][0]:  # nobody knows what the numbers are of
        assert table.empty
    else:
        assert len(table) == 2
        assert table[column].isna().all()


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe\x00", b'a,b\n"1', b"a,b\n1,2\n1,2,3,4\n"])
@pytest.mark.parametrize("name", measurements.COLUMNS)
def test_a_missing_or_damaged_file_has_no_rows(tmp_path, name, content):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert measurements.read(tmp_path, name).empty


def test_a_whole_file_is_read_as_it_is(tmp_path):
    wide = whole("latency.csv").assign(operating_point=["own:1", "own:2"], another=[5, 6], device="d", commit="12")
    wide.to_csv(tmp_path / "latency.csv", index=False)
    pd.testing.assert_frame_equal(measurements.read(tmp_path, "latency.csv")[list(wide)], wide)


@pytest.fixture
def old(tmp_path, monkeypatch) -> Evidence:
    """Results timed by three versions: today's, one that measured milliseconds alone, and one that lacks even these."""
    early = Adaptive(controls=False, kind="branchynet")
    methods: dict[str, Truth] = {"resnet": Static(), "bare": early, "none": early}
    experiment = Experiment(datasets={"maze": True}, methods=methods, samples=60, points=3, seeds=1, timed=True)
    configuration = experiment.write(tmp_path)
    for method, columns in (
        ("bare", ["operating_point", "batch_size", "milliseconds_per_sample"]),
        ("none", ["operating_point", "batch_size"]),
    ):
        path = configuration.run("maze", method, 0).folder(tmp_path) / "latency.csv"
        pd.read_csv(path)[columns].to_csv(path, index=False)
    monkeypatch.setattr(configurations, "load", lambda path: configuration)
    summary.write(configuration, tmp_path)
    return Evidence(configuration, tmp_path)


def test_tables_of_time_have_holes_where_an_older_version_measured_less(old):
    latency = next(table for table in tables.make(Outcomes(old.folder)) if table.name == "latency")
    rows = latency.text().set_index("method")
    assert "—" not in rows.loc["resnet"].str.cat()
    assert "—" not in rows.loc["bare", "batch 1: ms per sample"]
    assert "—" in rows.loc["bare", "p95 (ms)"].iloc[0]
    assert "none" not in rows.index


def test_the_figure_and_the_page_are_drawn_from_what_there_is(old):
    drawn = accuracy_latency.data(old)
    assert set(drawn["method"]) == {"resnet", "bare"}
    assert set(drawn.loc[drawn["method"] == "bare", "device"]) == {"unknown device"}
    assert command_line.main(["report", "--config", "x.yaml", "--results", str(old.results)]) == 0
    page = (old.folder / "report.html").read_text(encoding="utf-8")
    assert ">nan<" not in page
