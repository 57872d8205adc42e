"""Shapes in types: every function of `dynalay` states those of its tensors, and tests run with them checked."""

import ast
from pathlib import Path

import jaxtyping
import pytest
import torch

import dynalay
from dynalay import Solution
from dynalay.agent import Agent
from dynalay.rows import take

#: Functions that take tensors of any shape, because they check them otherwise, or pass them on.
ANY_SHAPE = {"Meter.__call__"}


def test_calls_with_wrong_shapes_or_types_fail_in_tests():
    agent = Agent(channels=(4,), scalars=3)
    states = torch.zeros(2, 4)
    agent(torch.zeros(2, 3), torch.zeros(2, 32), states)
    with pytest.raises(jaxtyping.TypeCheckError):
        agent(torch.zeros(1, 3), torch.zeros(2, 32), states)
    with pytest.raises(jaxtyping.TypeCheckError):
        take(torch.zeros(2, 3), torch.zeros(1, dtype=torch.int32))


def test_results_with_wrong_shapes_fail_in_tests():
    parts = torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64), torch.zeros(2), torch.zeros(2, dtype=torch.bool)
    Solution(*parts)
    with pytest.raises(jaxtyping.TypeCheckError):
        Solution(*parts[:3], torch.zeros(3, dtype=torch.bool))


def test_public_functions_and_fields_state_the_shapes_of_their_tensors():
    bare = []
    for path in sorted(Path(dynalay.__file__).parent.rglob("*.py")):
        tree = ast.parse(path.read_text())
        owners: list[ast.Module | ast.ClassDef] = [tree]
        for owner in owners + [node for node in tree.body if isinstance(node, ast.ClassDef)]:
            prefix = f"{owner.name}." if isinstance(owner, ast.ClassDef) else ""
            for node in owner.body:
                if isinstance(node, ast.AnnAssign) and _is_bare(node.annotation):
                    bare.append(f"{path.name}: {prefix}{ast.unparse(node.target)}")
                if not isinstance(node, ast.FunctionDef) or (node.name.startswith("_") and node.name != "__call__"):
                    continue
                arguments = node.args
                types = [each.annotation for each in arguments.args + arguments.kwonlyargs]
                types.append(node.returns)
                if any(_is_bare(each) for each in types) and prefix + node.name not in ANY_SHAPE:
                    bare.append(f"{path.name}: {prefix}{node.name}")
    assert not bare


def _is_bare(annotation: ast.expr | None) -> bool:
    """Whether it is a tensor without a shape, or one such tensor among others; callables are not looked into."""
    match annotation:
        case ast.Name(id="Tensor"):
            return True
        case ast.BinOp(left=left, right=right):
            return _is_bare(left) or _is_bare(right)
    return False
