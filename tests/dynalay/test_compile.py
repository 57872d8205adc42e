"""An FPI layer under `torch.compile`: the same results, and as few breaks in its graph as its loop allows."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

#: In a process of its own: here the functions of `dynalay` are wrapped in checks of their types.
SCRIPT = """
import json, logging, warnings
warnings.simplefilter("ignore")
import torch
from torch import nn
from dynalay import Anderson, Broyden, FPILayer
logging.disable()

class Cell(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(16, 16)

    def forward(self, z, u):
        return u + 0.5 * torch.tanh(self.linear(z))

torch.manual_seed(0)
u, cell, found = torch.randn(8, 16), Cell(), {}
for name, options in {
    "cap": {"check_every": 6}, "once": {"check_every": 3}, "each": {},
    "anderson": {"check_every": 6, "solver": Anderson()}, "broyden": {"check_every": 6, "solver": Broyden()},
    "phantom": {"gradient": "phantom", "check_every": 6}, "implicit": {"gradient": "implicit", "check_every": 6},
}.items():
    layer = FPILayer(cell, relative_tolerance=1e-3, max_iterations=6, **options)
    torch._dynamo.reset()
    explained = torch._dynamo.explain(layer)(u)
    torch._dynamo.reset()
    plain, compiled = layer(u), torch.compile(layer, backend="aot_eager")(u)
    gradients = [torch.autograd.grad(each.value.sum(), cell.linear.weight)[0] for each in (plain, compiled)]
    found[name] = {
        "breaks": explained.graph_break_count,
        "reasons": [str(each.reason).split()[:3] for each in explained.break_reasons],
        "iterations": int(plain.iterations.max()),
        "same": torch.equal(plain.iterations, compiled.iterations),
        "value": float((plain.value - compiled.value).abs().max()),
        "gradient": float((gradients[0] - gradients[1]).abs().max()),
    }
print(json.dumps(found))
"""


@pytest.mark.slow
def test_a_compiled_layer_gives_the_same_and_breaks_its_graph_only_where_it_looks_who_has_finished():
    command = [sys.executable, "-c", SCRIPT]
    result = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    found: dict[str, dict[str, Any]] = json.loads(result.stdout)
    for layer in found.values():
        assert layer["same"]
        assert layer["value"] < 1e-5
        assert layer["gradient"] < 1e-4
    # docs/library.md has these numbers.
    for name in ("cap", "anderson", "broyden", "phantom"):
        assert found[name]["breaks"] == 0, name
    for name in ("once", "each"):
        assert 0 < found[name]["breaks"] <= 6, name
        assert all(reason == ["Unsupported", "Tensor.item()", "call"] for reason in found[name]["reasons"])
    assert found["implicit"]["breaks"] <= 2
