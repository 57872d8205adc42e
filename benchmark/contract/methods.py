"""The contract of methods: each function checks one thing that the harness relies on, and asserts it.

A function's name says what must hold.  Where a check needs operating points, and samples on which decisions differ, it
takes a model trained for a few steps.  The tests run all checks over the methods of the suite, and
`python -m benchmark check --kind` over any other.
"""

import copy
import functools
import inspect
import tempfile
from collections.abc import Callable

import torch
from safetensors.torch import load, save

from benchmark.contract import fast_inference, subject, telling
from benchmark.contract.operator_count import operator_macs
from benchmark.contract.subject import BATCH, CLASSES, SHAPE, Method, StrictAutocast, classify, few, one_by_one, toy
from benchmark.experiment.space import search_space
from dynalay.classifier import TrainingState
from dynalay.meter import Meter


def parameters_can_be_read_without_importing(method: Method) -> None:
    signature = inspect.signature(method.kind.load())
    positional = [each.name for each in signature.parameters.values() if each.kind is each.POSITIONAL_OR_KEYWORD]
    assert positional == ["image_shape", "classes"]
    read = method.kind.parameters.model_fields
    assert not [name for name, field in read.items() if field.is_required()], "every parameter needs a default"
    options = {each.name: each for each in signature.parameters.values() if each.kind is each.KEYWORD_ONLY}
    assert options.keys() <= read.keys()
    assert all(read[name].default == option.default for name, option in options.items())


def every_corner_of_its_search_space_can_be_built(method: Method) -> None:
    ends = {name: dimension.ends() for name, dimension in search_space(method.kind).items()}
    for corner in (0, -1):
        assert method.kind.load()(SHAPE, CLASSES, **{name: values[corner] for name, values in ends.items()})


def any_small_image_is_classified(method: Method) -> None:
    for shape in ((1, 8, 8), (2, 12, 12), (3, 32, 32), (1, 9, 14)):
        model = method.build(shape).eval()
        logits, meter = classify(model, torch.randn(3, *shape), model.default_point)
        assert logits.shape == (3, CLASSES), shape
        assert logits.isfinite().all(), shape
        assert (meter.macs(model.component_macs()) > 0).all(), shape


def a_batch_of_one_and_one_channels_last_are_classified(method: Method) -> None:
    model = method.build().eval()
    images = torch.randn(4, *SHAPE)
    whole, _ = classify(model, images, model.default_point)
    last, _ = classify(
        model.to(memory_format=torch.channels_last), images.to(memory_format=torch.channels_last), model.default_point
    )
    torch.testing.assert_close(last, whole, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(classify(model, images[:1], model.default_point)[0], whole[:1], rtol=1e-3, atol=1e-4)


def phases_are_in_order_and_begin_with_training(method: Method) -> None:
    starts = [phase.start for phase in method.build().phases]
    assert starts[0] == 0
    assert starts == sorted(set(starts))
    assert starts[-1] < 1


def every_parameter_learns_in_some_phase(method: Method) -> None:
    model = copy.deepcopy(method.trained[0]).train()
    images, labels = toy(BATCH, seed=1)
    reached = set()
    for phase in model.phases:
        for progress in (0.0, 0.95):
            model.zero_grad()
            state = TrainingState(progress, torch.Generator().manual_seed(0), phase.name)
            loss, logs = model.training_loss(images, labels, Meter(model.components(), BATCH), state)
            assert loss.shape == ()
            assert loss.isfinite()
            for log, value in logs.items():
                assert value.shape == (), log
                assert not value.requires_grad, log
            loss.backward()
            for parameter_name, parameter in model.named_parameters():
                if parameter.grad is not None:
                    assert parameter.grad.isfinite().all(), (phase, progress, parameter_name)
                    if parameter.grad.any():
                        reached.add(parameter_name)
    assert {key for key, parameter in model.named_parameters() if parameter.requires_grad} == reached


def what_is_logged_has_the_same_names_all_phase_long(method: Method) -> None:
    model = method.build()
    images, labels = toy(8, seed=1)
    for phase in model.phases:
        names = [
            set(
                model.training_loss(
                    images,
                    labels,
                    Meter(model.components(), 8),
                    TrainingState(progress, torch.Generator().manual_seed(0), phase.name),
                )[1]
            )
            for progress in (0.0, 0.9)
        ]
        assert names[0] == names[1]


def a_few_steps_of_training_help(method: Method) -> None:
    _, _, before, after = method.trained
    assert after < 0.7 * before


def training_in_bfloat16_gives_finite_gradients(method: Method) -> None:
    model = method.build().train()
    images, labels = toy(16, seed=1)
    for phase in model.phases:
        state = TrainingState(0.5, torch.Generator().manual_seed(0), phase.name)
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=False), StrictAutocast():
            loss, _ = model.training_loss(images, labels, Meter(model.components(), 16), state)
        model.zero_grad()
        loss.backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def operating_points_are_distinct_and_default_to_the_method_itself(method: Method) -> None:
    _, points, _, _ = method.trained
    names = [point.name for point in points]
    assert len(names) == len(set(names))
    assert any(point.policy == "own" for point in points)


def choosing_operating_points_changes_nothing(method: Method) -> None:
    model, points, _, _ = method.trained
    images, labels = toy(60, seed=3)
    before = copy.deepcopy(model.state_dict())
    with torch.inference_mode():
        again = model.operating_points([(images[:32], labels[:32]), (images[32:], labels[32:])])
    # By name, since the knob of a static network is NaN and NaN is no equal of itself.
    assert [(point.name, point.setting) for point in again] == [(point.name, point.setting) for point in points]
    assert not model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def metered_macs_are_exactly_those_of_the_operators_that_run(method: Method) -> None:
    model, points, _, _ = method.trained
    images, _ = toy(4, seed=11)
    for point in few(points):
        for image in images.split(1):
            meter = Meter(model.components(), 1)
            with torch.no_grad():
                counted = operator_macs(functools.partial(model.classify, image, point, meter))
            assert meter.macs(model.component_macs()).item() == counted, point


def a_sample_is_treated_alike_alone_in_a_batch_and_in_another_order(method: Method) -> None:
    """Executions exactly; logits to rounding: 1e-6 of the largest, or 2e-5 where a solver extrapolates, as DEQ's."""
    model, points, _, _ = method.trained
    images, _ = toy(9, seed=12)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    for point in few(points):
        logits, meter = classify(model, images, point)
        within = 1e-4 * logits.abs().max().item()
        permuted, permuted_meter = classify(model, images[order], point)
        assert torch.equal(permuted_meter.executions, meter.executions[order]), point
        torch.testing.assert_close(permuted, logits[order], rtol=0, atol=within)
        alone = [classify(model, image, point) for image in images.split(1)]
        assert torch.equal(torch.cat([one.executions for _, one in alone]), meter.executions), point
        torch.testing.assert_close(torch.cat([one for one, _ in alone]), logits, rtol=0, atol=within)
        for note, values in meter.notes.items():
            assert values.shape == (9,), note
            assert not values.requires_grad


def nothing_passes_from_one_sample_to_another(method: Method) -> None:
    """Bitwise, where components are run on one sample at a time."""
    model, points, _, _ = method.trained
    images, _ = toy(9, seed=12)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    for point in points[:: max(1, len(points) // 6)]:
        logits = one_by_one(model, images, point)
        assert torch.equal(one_by_one(model, images[order], point), logits[order]), point
        alone = [one_by_one(model, images[sample : sample + 1], point) for sample in (0, 8)]
        assert torch.equal(torch.cat(alone), logits[[0, 8]]), point


def points_decided_from_one_run_are_those_that_are_really_run(method: Method) -> None:
    """Executions exactly; logits up to the rounding of batches of another size."""
    model, points, _, _ = method.trained
    images, _ = toy(33, seed=15)
    with torch.inference_mode():
        together = list(model.classify_at(images, points))
    found = {point.name: each for point, each in zip(points, together, strict=True)}
    for point in few(points):
        logits, meter = found[point.name]
        alone, alone_meter = classify(model, images, point)
        assert torch.equal(meter.executions, alone_meter.executions), point
        torch.testing.assert_close(logits, alone, rtol=1e-4, atol=1e-5)
        assert meter.notes.keys() == alone_meter.notes.keys()
        for note, values in meter.notes.items():
            torch.testing.assert_close(values, alone_meter.notes[note], rtol=1e-4, atol=1e-5, equal_nan=True)


def what_the_modules_are_given_is_what_the_meter_counts(method: Method) -> None:
    model, points, _, _ = method.trained
    images, _ = toy(16, seed=13)
    for point in few(points):
        meter = Meter(model.components(), 16)
        seen, handles = subject.rows_seen(meter)
        with torch.inference_mode():
            model.classify(images, point, meter)
        for handle in handles:
            handle.remove()
        assert {key: seen[key] for key in meter.components} == subject.executed(meter), point


def training_runs_its_components_through_the_meter_too(method: Method) -> None:
    model = method.build().train()
    model.component_macs()  # now, since counting the costs runs copies of the modules, with their hooks
    images, labels = toy(8, seed=13)
    for phase in model.phases:
        meter = Meter(model.components(), 8)
        seen, handles = subject.rows_seen(meter)
        model.training_loss(images, labels, meter, TrainingState(0.5, torch.Generator().manual_seed(0), phase.name))
        for handle in handles:
            handle.remove()
        assert {key: seen[key] for key in meter.components} == subject.executed(meter), phase
        assert meter.executions.any()


def forward_gives_logits_that_a_loss_can_use(method: Method) -> None:
    model = method.build().train()
    images, labels = toy(8, seed=5)
    logits = model(images)
    assert logits.shape == (8, CLASSES)
    torch.nn.functional.cross_entropy(logits, labels).backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert any(gradient.any() for gradient in gradients)
    assert all(gradient.isfinite().all() for gradient in gradients)


def predictions_are_those_of_classify_and_say_what_they_cost(method: Method) -> None:
    model, points, _, _ = method.trained
    images, _ = toy(6, seed=16)
    own = [point for point in points if point.policy == "own"]
    for point in own[:: max(1, len(own) // 4)]:
        logits, meter = classify(model, images, point)
        prediction = model.predict(images, point=point)
        torch.testing.assert_close(prediction.logits, logits, rtol=1e-3, atol=1e-4)
        assert torch.equal(prediction.labels, prediction.logits.argmax(dim=1)), point
        assert torch.equal(prediction.macs, meter.macs(model.component_macs())), point


def double_and_bfloat16_models_classify(method: Method) -> None:
    model, points, _, _ = method.trained
    images, _ = toy(30, seed=17)
    labels = model.predict(images).labels
    for dtype, agreement in ((torch.float64, 0.95), (torch.bfloat16, 0.7)):
        other = copy.deepcopy(model).to(dtype)
        for point in points[:: max(1, len(points) // 4)]:
            assert other.predict(images.to(dtype), point=point).logits.isfinite().all(), (dtype, point)
        agreeing = other.predict(images.to(dtype)).labels == labels
        assert agreeing.float().mean() >= agreement, dtype


def training_is_repeatable_from_its_random_stream(method: Method) -> None:
    losses = []
    for _ in range(2):
        model = method.build().train()
        images, labels = toy(8, seed=2)
        generator = torch.Generator().manual_seed(5)
        for phase in model.phases:
            meter = Meter(model.components(), 8)
            losses.append(
                model.training_loss(images, labels, meter, TrainingState(0.5, generator, phase.name))[0].item()
            )
    half = len(losses) // 2
    assert losses[:half] == losses[half:]


def a_model_is_its_saved_weights(method: Method) -> None:
    model, points, _, _ = method.trained
    restored = method.build(seed=1).eval()
    restored.load_state_dict(load(save(model.state_dict())))
    images, _ = toy(6, seed=14)
    for point in points[:: max(1, len(points) // 4)]:
        logits, meter = classify(model, images, point)
        again, again_meter = classify(restored, images, point)
        assert torch.equal(logits, again)
        assert torch.equal(meter.executions, again_meter.executions)


def a_saved_model_is_built_again_from_its_folder(method: Method) -> None:
    model = method.build().eval()
    images, _ = toy(3, seed=18)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        restored = type(model).from_pretrained(folder)
    assert torch.equal(restored.predict(images).logits, model.predict(images).logits)


CHECKS: tuple[Callable[[Method], None], ...] = (
    parameters_can_be_read_without_importing,
    every_corner_of_its_search_space_can_be_built,
    any_small_image_is_classified,
    a_batch_of_one_and_one_channels_last_are_classified,
    phases_are_in_order_and_begin_with_training,
    every_parameter_learns_in_some_phase,
    what_is_logged_has_the_same_names_all_phase_long,
    a_few_steps_of_training_help,
    training_in_bfloat16_gives_finite_gradients,
    operating_points_are_distinct_and_default_to_the_method_itself,
    choosing_operating_points_changes_nothing,
    metered_macs_are_exactly_those_of_the_operators_that_run,
    a_sample_is_treated_alike_alone_in_a_batch_and_in_another_order,
    nothing_passes_from_one_sample_to_another,
    points_decided_from_one_run_are_those_that_are_really_run,
    what_the_modules_are_given_is_what_the_meter_counts,
    *telling.CHECKS,
    training_runs_its_components_through_the_meter_too,
    forward_gives_logits_that_a_loss_can_use,
    predictions_are_those_of_classify_and_say_what_they_cost,
    *fast_inference.CHECKS,
    double_and_bfloat16_models_classify,
    training_is_repeatable_from_its_random_stream,
    a_model_is_its_saved_weights,
    a_saved_model_is_built_again_from_its_folder,
)
