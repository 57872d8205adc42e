"""Fixed points z = f(z) of batches in which every sample has its own convergence."""

from dynalay.fixed_point.anderson import Anderson
from dynalay.fixed_point.broyden import Broyden
from dynalay.fixed_point.gradient import Gradient, fixed_point
from dynalay.fixed_point.iteration import Solution, solve
from dynalay.fixed_point.picard import Picard
from dynalay.fixed_point.solver import Solver

#: The solvers by the names that configurations use.
SOLVERS: dict[str, type[Solver]] = {"picard": Picard, "anderson": Anderson, "broyden": Broyden}

__all__ = ["SOLVERS", "Anderson", "Broyden", "Gradient", "Picard", "Solution", "Solver", "fixed_point", "solve"]
