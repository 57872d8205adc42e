"""A run's model and its optimiser, as the configuration describes them."""

import torch
from torch import nn

from benchmark.data import Dataset, Facts
from benchmark.errors import UserError
from benchmark.experiment import kinds
from benchmark.experiment.runs import Run
from benchmark.experiment.schema import Recipe
from benchmark.training.streams import derived_seed
from dynalay.classifier import AdaptiveClassifier


def build_model(run: Run, dataset: Dataset | Facts, device: torch.device) -> AdaptiveClassifier:
    """The run's model with the initial weights that its seed gives, in channels-last layout on `device`.

    Raises:
        UserError: the method refuses its parameters, or runs an operator whose cost is not known.
    """
    method = kinds.find("method", run.method_kind).load()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(run.seed, "initialisation"))
        try:
            model = method(dataset.image_shape, len(dataset.classes), **run.method_parameters)
            model.component_macs()  # refuses operators whose cost is not known
        except ValueError as error:
            raise UserError(f"{run.method} ({run.method_kind}) on {run.dataset}: {error}") from None
    return model.to(device).to(memory_format=torch.channels_last)


def build_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser; weight decay for matrices and kernels only, as biases and norm gains need none."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=0.9, nesterov=True, fused=True)
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True)
