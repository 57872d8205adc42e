"""The reduction of a run's records reads column by column: its memory does not grow with the number of components."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmark.evaluation import records

SAMPLES, POINTS, COMPONENTS = 4000, 50, 400
#: Run by itself, so that nothing else has used memory: prints how much more the reduction needs, in MB.
MEASURED = """
import resource, sys
from pathlib import Path
from benchmark.analysis.difficulty import graded_samples
from benchmark.analysis.reduction import reduced
folder = Path(sys.argv[1])
samples = graded_samples([folder], [folder])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
tables = reduced((folder, samples, True))
assert isinstance(tables, dict), tables
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_components(tmp_path):
    rows = 2 * SAMPLES * POINTS
    names = [f"stage{number}" for number in range(COMPONENTS)]
    sample = np.tile(np.arange(SAMPLES, dtype=np.int32), 2 * POINTS)
    point = np.tile(np.repeat([f"own:{number}" for number in range(POINTS)], SAMPLES), 2)
    table = pd.DataFrame(
        {
            "split": np.repeat(["validation", "test"], rows // 2), "sample": sample, "label": np.int16(1),
            "prediction": np.int16(1), "difficulty": np.float32(np.nan), "policy": "own", "operating_point": point,
            "knob": np.float32(0), "confidence": np.float32(0.5), "macs": np.int64(COMPONENTS),
        }
        | {f"executions.{name}": np.ones(rows, np.int16) for name in names}
    )  # fmt: skip
    records.write(tmp_path / "records.parquet", table)
    (tmp_path / "costs.json").write_text(json.dumps({name: {"macs": 1} for name in names}))
    (tmp_path / "history.csv").write_text("epoch,loss\n1,1.0\n")
    measured = subprocess.run(
        [sys.executable, "-c", MEASURED, tmp_path], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parents[3],
    )  # fmt: skip
    whole = rows * COMPONENTS * 2 / 2**20  # MB of all executions at once
    assert float(measured.stdout) < whole / 3
