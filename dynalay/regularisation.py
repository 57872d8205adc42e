"""What keeps a cell near a contraction: a penalty on its Jacobian, or a bound on its weights.  Both are optional."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize


def jacobian_norm(
    function: Callable[[Tensor], Tensor],
    z: Float[Tensor, "batch *state"],
    *,
    draws: int = 1,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "batch"]:
    """Hutchinson's estimate of the squared Frobenius norm of J = df/dz over its size, as a penalty to minimise.

    E |J^T e|^2 = |J|_F^2 for e ~ N(0, I); divided by the size of the state it is the mean squared singular value of J
    (Bai, Koltun & Kolter 2021, eq. 6).  A value below one does not prove a contraction: the largest singular value
    decides, and this is a mean.

    Args:
        function: f(z) of the whole batch; a sample's image must depend on that sample alone.
        z: where to differentiate, [batch, ...]; a constant to the penalty, usually a fixed point.
        draws: random vectors to average over.
        generator: where they are drawn from; on the device of `z`.

    Returns:
        The estimate for each sample [batch], differentiable with respect to all that `function` depends on but `z`; a
        mere measurement where gradients are disabled.

    Example: the Jacobian of z -> 0.5 z has singular values 0.5.
        >>> penalty = jacobian_norm(lambda z: 0.5 * z, torch.zeros(2, 3), draws=1000, generator=torch.Generator())
        >>> torch.allclose(penalty, torch.tensor(0.25), atol=0.02)
        True
    """
    differentiable = torch.is_grad_enabled()
    with torch.enable_grad():
        z = z.detach().contiguous().requires_grad_()
        fz = function(z)
        estimate = z.new_zeros(z.shape[0])
        for _ in range(draws):
            probe = torch.randn(fz.shape, generator=generator, dtype=fz.dtype, device=fz.device)
            (product,) = torch.autograd.grad(fz, z, probe, create_graph=differentiable, retain_graph=True)
            estimate = estimate + product.unsqueeze(-1).flatten(1).square().mean(dim=1)
        estimate = estimate / draws
    return estimate if differentiable else estimate.detach()


class _RowSumBound(nn.Module):
    """Scale each output's weights down to an absolute sum of at most `gain`; smaller ones stay as they are."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = gain

    def forward(self, weight: Float[Tensor, "outputs *rest"]) -> Float[Tensor, "outputs *rest"]:
        sums = weight.abs().flatten(1).sum(dim=1).reshape(-1, *[1] * (weight.dim() - 1))
        return weight * (self.gain / sums.clamp_min(self.gain))


def bound_gain(module: nn.Module, gain: float) -> nn.Module:
    """Bound the Lipschitz constant, in the maximum norm, of every linear and convolutional layer in `module`.

    For a matrix that constant is the largest absolute row sum, and for a convolution the largest absolute sum over one
    filter, whatever its stride, dilation, groups or padding.  So where a cell is a chain of such layers, of functions
    with slope at most one (relu, tanh) and of an input added in, its Lipschitz constant is at most the product of the
    gains, and if that is below one Picard iteration converges from every start, at that rate.  The bound is strict:
    random filters lose most of their scale to it.

    **A normalisation layer inside the cell voids the bound**: GroupNorm divides by the deviation of its input and so
    undoes any scale.  With one, use `jacobian_norm`, or normalise what enters the cell instead.

    The weights become parametrised (`torch.nn.utils.parametrize`), which is elementwise work at each call;
    ``parametrize.remove_parametrizations(layer, "weight")`` makes them plain again once training is over.

    Args:
        module: changed in place.
        gain: the bound for each layer, above 0.

    Returns:
        `module`.

    Example:
        >>> layer = bound_gain(nn.Linear(8, 8, bias=False), gain=0.5)
        >>> x, y = torch.randn(2, 100, 8)
        >>> bool(((layer(x) - layer(y)).abs().amax(1) <= 0.5 * (x - y).abs().amax(1)).all())
        True
    """
    if gain <= 0:
        raise ValueError(f"bound_gain(gain={gain}): the gain must be above 0")
    for layer in list(module.modules()):
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            parametrize.register_parametrization(layer, "weight", _RowSumBound(gain))
    return module
