"""Fixed points of a batch: each sample by itself, against TorchDEQ, which waits for the worst.

    python -m timings.torchdeq

The cell and the batch are those of `timings.solvers`, whose samples converge at different rates. Both solve to the same
relative residual, by the same method and with the same memory. Processor time of one thread, in turns.
"""

import argparse
import statistics

import torch
from torch import Tensor
from torchdeq import get_deq

from dynalay.fixed_point import Anderson, Broyden, Picard, Solver, solve
from timings.overhead import seconds
from timings.solvers import Function, make_batch

#: A function and where to start from.
Batch = tuple[Function, Tensor]
#: TorchDEQ's name of a solver and its options, and ours.
PAIRS: dict[str, tuple[dict[str, object], Solver]] = {
    "fixed_point_iter": ({}, Picard()),
    "anderson": ({"m": 6}, Anderson(memory=5)),  # six iterates have five differences
    "broyden": ({"LBFGS_thres": 10}, Broyden(memory=10)),
}


@torch.no_grad()
def compare(name: str, batch: Batch, tolerance: float, repeats: int) -> str:
    """The row of one solver."""
    function, start = batch
    everything = torch.arange(len(start))
    options, solver = PAIRS[name]
    deq = get_deq(f_solver=name, f_stop_mode="rel", f_tol=tolerance, f_max_iter=100)

    def theirs() -> Tensor:
        answer: Tensor = deq(lambda z: function(z, everything), start, solver_kwargs=options)[0][-1]
        return answer

    def ours() -> Tensor:
        return solve(function, start, solver=solver, relative_tolerance=tolerance, max_iterations=100).value

    turns = [(seconds(theirs), seconds(ours)) for _ in range(1 + repeats)][1:]
    ratios = [slow / fast for slow, fast in turns]
    residuals = []
    for answer in (theirs(), ours()):
        image = function(answer, everything)
        gap = (image - answer).flatten(1).norm(dim=1) / image.flatten(1).norm(dim=1)
        residuals.append(f"{gap.max():.1e}")
    cells = [
        type(solver).__name__,
        f"{min(slow for slow, _ in turns):.2f}",
        f"{min(fast for _, fast in turns):.2f}",
        f"{statistics.median(ratios):.2f} ({min(ratios):.2f} - {max(ratios):.2f})",
        ", ".join(residuals),
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print a row for each solver."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--size", type=int, default=16, help="height and width of the state")
    parser.add_argument("--tolerance", type=float, default=1e-4)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    batch = make_batch(arguments.samples, arguments.channels, arguments.size, "cpu")
    print(
        "| solver | TorchDEQ, s | ours, s | times faster | worst residual, TorchDEQ and ours |\n|---|---|---|---|---|"
    )
    for name in PAIRS:
        print(compare(name, batch, arguments.tolerance, arguments.repeats), flush=True)


if __name__ == "__main__":
    main()
