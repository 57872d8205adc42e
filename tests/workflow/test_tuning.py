"""`snakemake tune`: trains the trials that are missing, and chooses."""

import pytest
import yaml

from tests.workflow.pipeline import jobs

GRID = """\
experiment: miniature
seeds: 1
reference: small
recipe: {epochs: 1, batch_size: 32}
datasets:
  digits: {parameters: {train_samples: 64, test: 40, validation: 40}}
methods:
  small: {kind: resnet, parameters: {depth: 8, channels: [8, 8, 8]}}
"""


def planned(run, folder, *settings: str, grid: str = "grid.yaml") -> dict[str, int]:
    options = ("tune", "--cores", "2", "--dry-run", "--config", f"experiment={grid}", *settings)
    status, output = run(folder, *options)
    assert status == 0, output
    return jobs(output)


@pytest.mark.slow
def test_the_pipeline_tunes_and_repeats_only_what_changed(run, tmp_path):
    (tmp_path / "grid.yaml").write_text(GRID)
    status, output = run(tmp_path, "tune", "--cores", "2", "--config", "experiment=grid.yaml", "trials=2")
    assert status == 0, output
    assert "to use it, add `tuned: tuned/miniature.yaml` to grid.yaml" in output
    tuned = yaml.safe_load((tmp_path / "tuned/miniature.yaml").read_text())
    assert len(tuned["datasets"]["digits"]["methods"]["small"]["scores"]) == 2
    assert not list(tmp_path.rglob("records.parquet"))  # trials record nothing of the test split

    assert planned(run, tmp_path, "trials=2") == {"tune": 1}
    assert planned(run, tmp_path, "trials=4", "dataset=digits") == {"tune": 1, "trial": 2}
    # Once the experiment names the file, tuning still starts from the configuration without it.
    (tmp_path / "named.yaml").write_text(GRID + "tuned: tuned/miniature.yaml\n")
    assert planned(run, tmp_path, "trials=2", grid="named.yaml") == {"tune": 1}
    (tmp_path / "changed.yaml").write_text(GRID.replace("epochs: 1", "epochs: 2"))
    assert planned(run, tmp_path, "trials=2", grid="changed.yaml") == {"tune": 1, "trial": 2}
