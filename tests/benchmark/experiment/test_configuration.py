"""Configurations: what they resolve to, and that every mistake is reported by its key, never as a traceback."""

import copy
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from benchmark.errors import UserError
from benchmark.experiment import configuration, schema

SOUND: dict[str, Any] = {
    "experiment": "sound",
    "seeds": 2,
    "reference": "resnet8",
    "recipe": {"epochs": 3, "learning_rate": 0.01, "augmentation": {"crop": 1}},
    "datasets": {
        "digits": {
            "parameters": {"validation": 0.2},
            "recipe": {"epochs": 5, "augmentation": {"flip": True}},
            "methods": {"dynalay": {"parameters": {"rounds": 2}, "recipe": {"batch_size": 16}}},
        },
        "small-maze": {"kind": "maze"},
    },
    "methods": {
        "resnet8": {"kind": "resnet", "parameters": {"depth": 8, "channels": [8, 16, 32]}},
        "dynalay": {
            "kind": "workshop",
            "parameters": {"rounds": 3, "gradient": "phantom"},
            "recipe": {"learning_rate": 1},
        },
    },
}


@pytest.fixture
def load(tmp_path) -> Callable[[Any], configuration.Configuration]:
    """Load a configuration from a value, or from text as it is."""

    def load(content: Any) -> configuration.Configuration:
        path = tmp_path / "configuration.yaml"
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
        return configuration.load(path)

    return load


def changed(path: str, value: Any) -> dict[str, Any]:
    """The sound configuration with the value at a path of keys set."""
    content = copy.deepcopy(SOUND)
    *parents, last = path.split("/")
    place = content
    for key in parents:
        place = place[key]
    place[last] = value
    return content


def test_the_grid_is_every_dataset_method_and_seed(load):
    loaded = load(SOUND)
    assert (loaded.datasets, loaded.methods, loaded.seeds) == (("digits", "small-maze"), ("resnet8", "dynalay"), (0, 1))
    assert len({str(run) for run in loaded.runs()}) == len({run.digest for run in loaded.runs()}) == 8
    assert loaded.run("small-maze", "resnet8", 1).dataset_kind == "maze"
    assert loaded.run("small-maze", "resnet8", 1).method_kind == "resnet"


def test_the_narrower_layer_wins_key_by_key(load):
    loaded = load(SOUND)
    run = loaded.run("digits", "dynalay", 0)
    assert run.recipe.epochs == 5
    assert run.recipe.learning_rate == 1
    assert run.recipe.batch_size == 16
    assert (run.recipe.augmentation.crop, run.recipe.augmentation.flip) == (1, True)
    assert (run.method_parameters["rounds"], run.method_parameters["gradient"]) == (2, "phantom")
    elsewhere = loaded.run("small-maze", "dynalay", 0)
    assert (elsewhere.recipe.epochs, elsewhere.method_parameters["rounds"]) == (3, 3)
    assert loaded.run("digits", "resnet8", 0).method_parameters["channels"] == (8, 16, 32)


def test_a_digest_stands_for_what_determines_a_run_and_nothing_else(load):
    digest = load(SOUND).run("digits", "dynalay", 0).digest
    assert load(changed("experiment", "another")).run("digits", "dynalay", 0).digest == digest
    assert load(changed("recipe/epochs", 4)).run("digits", "dynalay", 0).digest == digest  # the dataset says 5
    assert load(changed("methods/dynalay/recipe", {"learning_rate": 2})).run("digits", "dynalay", 0).digest != digest
    assert load(SOUND).run("digits", "dynalay", 1).digest != digest


def test_numbers_in_scientific_notation_are_numbers(load):
    text = yaml.safe_dump(SOUND).replace("learning_rate: 0.01", "learning_rate: 1e-2")
    assert load(text).run("digits", "resnet8", 0).recipe.learning_rate == 0.01


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("recipe/epoch", 3, "recipe.epoch: unknown key. Did you mean 'epochs'?"),
        ("recipe/epochs", "3", "recipe.epochs: must be a valid integer, not '3'."),
        ("recipe/epochs", 0, "recipe.epochs: must be greater than or equal to 1, not 0."),
        ("recipe/learning_rate", float("inf"), "recipe.learning_rate: must be a finite number, not inf."),
        ("recipe/optimizer", "adam", "recipe.optimizer: must be 'adamw' or 'sgd', not 'adam'."),
        ("recipe/augmentation", {"flp": True}, "recipe.augmentation.flp: unknown key. Did you mean 'flip'?"),
        ("datasets/digits/recipe", {"epoch": 1}, "datasets.digits.recipe.epoch: unknown key. Did you mean 'epochs'?"),
        ("datasets/digits/parameters", {"valdation": 0.1}, "datasets.digits.parameters.valdation: unknown key. Did"),
        ("datasets/digits/recipes", {}, "datasets.digits.recipes: unknown key. Did you mean 'recipe'?"),
        ("datasets/digit", {}, "datasets.digit: no dataset kind 'digit'. Did you mean 'digits'?"),
        ("datasets/small-maze", {"kind": "mase"}, "small-maze.kind: no dataset kind 'mase'. Did you mean 'maze'?"),
        ("datasets/digits/methods", {"dynaly": {}}, "datasets.digits.methods.dynaly: no such method. Did you mean 'd"),
        ("datasets/digits/methods", {"dynalay": {"kind": "act"}}, "datasets.digits.methods.dynalay.kind: unknown key."),
        (
            "datasets/digits/methods",
            {"dynalay": {"parameters": {"round": 1}}},
            "datasets.digits.methods.dynalay.parameters.round: unknown key. Did you mean 'rounds'?",
        ),
        ("methods/dynalay/parameters", {"rounds": 2.5}, "methods.dynalay.parameters.rounds: must be a valid integer"),
        ("methods/dynalay/parameters", {"gradient": "exact"}, "must be 'implicit', 'phantom' or 'unrolled', not"),
        ("methods/resnet8/parameters", {"channels": [8, 16]}, "methods.resnet8.parameters.channels.2: is missing; the"),
        ("methods/resnet8/kind", "resnext", "methods.resnet8.kind: no method kind 'resnext'. Did you mean 'resnet'?"),
        ("methods/a b", {"kind": "act"}, "methods.a b: must be made of letters, digits"),
        ("methods/../up", {"kind": "act"}, "methods.../up: must be made of letters, digits"),
        ("methods", {}, "methods: is empty, so there is nothing to run; name at least one."),
        ("datasets", {}, "datasets: is empty, so there is nothing to run; name at least one."),
        ("datasets/figures", {"kind": "maze"}, "datasets.figures: is the name of another folder of results"),
        ("seeds", [], "seeds: must name at least one seed and none twice, not []."),
        ("seeds", [3, 3], "seeds: must name at least one seed and none twice, not [3, 3]."),
        ("seeds", 0, "seeds: must be a list of seeds, or how many (1 to 10,000), not 0."),
        ("seeds", 10**12, "seeds: must be a list of seeds, or how many (1 to 10,000), not 1000000000000."),
        ("seeds", True, "seeds: must be a list of seeds, or how many (1 to 10,000), not True."),
        ("reference", "resnet", "reference: no method 'resnet'. Did you mean 'resnet8'?"),
        ("experiment", "../elsewhere", "experiment: must be made of letters, digits"),
        ("datsets", {}, "datsets: unknown key. Did you mean 'datasets'?"),
    ],
)  # fmt: skip
def test_each_error_names_its_key_and_suggests_a_fix(load, path, value, message):
    content = changed(path, value) if ".." not in path else changed("methods", {"../up": value})
    with pytest.raises(UserError) as error:
        load(content)
    assert message in str(error.value)
    assert "configuration.yaml" in str(error.value)


def test_all_mistakes_are_reported_at_once_and_each_once(load):
    content = changed("recipe/epoch", 3)
    content["methods"]["dynalay"]["parameters"]["round"] = 3
    content["datasets"]["digits"]["parameters"]["valdation"] = 0.1
    with pytest.raises(UserError) as error:
        load(content)
    message = str(error.value)
    assert [message.count(key) for key in ("recipe.epoch:", "parameters.round:", "parameters.valdation:")] == [1, 1, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seeds: 1\nseeds: 2\n", "the key 'seeds' is given twice"),
        ("methods:\n  a: {}\n  a: {}\n", "the key 'a' is given twice"),
        ("seeds: [1\n", "line 2"),
        ("seeds:\t- 1\n", "line 1"),
        ("", "must be a mapping"),
        ("- digits\n", "must be a mapping"),
        ("&loop [*loop]", "not valid YAML"),
        ('seeds: !!int ""', "not valid YAML"),
        ("seeds: !!python/object:os.system {}", "not valid YAML"),
        ("? [a, b]\n: 1\n", "not valid YAML"),
        ("seeds: " + "[" * 500 + "]" * 500, "not valid YAML"),
        ("1: 2\n", "1: must be a text"),
    ],
)
def test_what_is_no_configuration_is_told_with_its_line(load, text, message):
    with pytest.raises(UserError) as error:
        load(text)
    assert message in str(error.value)


def test_files_that_cannot_be_read_are_named(tmp_path):
    for path, message in ((tmp_path / "missing.yaml", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(UserError, match=f"(?s){path}.*{message}"):
            configuration.load(path)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not a text file in UTF-8"):
        configuration.load(binary)


def test_what_an_experiment_does_not_have_is_named(load):
    loaded = load(SOUND)
    with pytest.raises(UserError, match=r"no dataset 'digit'\. Did you mean 'digits'"):
        loaded.run("digit", "resnet8", 0)
    with pytest.raises(UserError, match=r"no method 'resnet'\. Did you mean 'resnet8'"):
        loaded.run("digits", "resnet", 0)
    with pytest.raises(UserError, match="no seed 2; its seeds are"):
        loaded.run("digits", "resnet8", 2)


# Any mutation of a sound configuration is sound, or refused with its key.

GARBAGE: tuple[Any, ...] = (
    None, True, -1, 0, 3, 10**30, 0.5, -2.5, float("nan"), float("inf"), "", "x", "ünï ©", "../..", "a" * 300,
    [], [[]], [1, "a"], {}, {"x": {"y": []}}, {"kind": "resnet"}, {3: 4},
)  # fmt: skip


def places(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to every value."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


def mutated(content: Any, chance: random.Random) -> tuple[Any, ...]:
    """Change something somewhere; returns the path to it, by the key it has now."""
    path = chance.choice(list(places(content)))
    place = content
    for key in path[:-1]:
        place = place[key]
    last = path[-1]
    change = chance.choice(["value", "type", "delete", "misspell", "nest", "add", "move"])
    if change == "value":
        place[last] = chance.choice(GARBAGE)
    elif change == "type":
        place[last] = str(place[last]) if not isinstance(place[last], str) else [place[last]]
    elif change == "nest":
        place[last] = {last: place[last]}
    elif change == "delete":
        del place[last]
    elif change == "move":
        value = place[last]
        del place[last]
        content[str(last)] = value
        return (str(last),)
    elif isinstance(place, list):
        place.append(chance.choice(GARBAGE))
    else:
        value = place[last]
        if change == "misspell":
            del place[last]
        last = chance.choice([f"{last}s", str(last)[1:], str(last).upper(), "7", 7, "", "é"])
        place[last] = value
    return (*path[:-1], last)


def refusal(load: Callable[[Any], configuration.Configuration], content: Any) -> str | None:
    """The message with which a configuration is refused; None for a sound one, whose runs can all be named."""
    try:
        runs = load(content).runs()
    except UserError as error:
        return str(error)
    assert runs
    assert all(run.digest for run in runs)
    return None


@pytest.mark.parametrize("seed", range(10))
def test_mutated_configurations_are_sound_or_refused_by_a_key(load, seed):
    chance = random.Random(seed)
    outcomes = []
    for _ in range(80):
        content = copy.deepcopy(SOUND)
        path = mutated(content, chance)
        message = refusal(load, content)
        outcomes.append(message is None)
        if message is not None:
            keys = [str(key) or "''" for key in path]
            if path[0] == "methods":
                keys.append("reference")  # names a method that may be there no longer
            assert any(key in line for line in message.splitlines()[1:] for key in keys), f"{path}: {message}"
    assert set(outcomes) == {True, False}


@pytest.mark.parametrize("seed", range(5))
def test_mutilated_text_is_sound_or_refused(load, seed):
    chance = random.Random(seed)
    text = yaml.safe_dump(SOUND)
    for _ in range(60):
        letters = list(text)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(letters))
            garbage = chance.choice(["", "\t", "{", "]", ":", "- ", "&a ", "*a", "!!x ", "\n"])
            letters[at : at + chance.randint(0, 3)] = garbage
        message = refusal(load, "".join(letters))
        assert message is None or "configuration.yaml" in message


# config/README.md explains every key, and no other.

SECTIONS: dict[str, type[BaseModel]] = {
    "The experiment": schema.File,
    "A dataset": schema.DatasetEntry,
    "A method": schema.MethodEntry,
    "An override": schema.MethodOverride,
    "The recipe": schema.Recipe,
    "Augmentation": schema.Augmentation,
}
CONFIG = Path(configuration.__file__).parents[2] / "config"


def documented(section: str) -> dict[str, str]:
    """The keys that a section of config/README.md explains, with their defaults."""
    _, _, rest = (CONFIG / "README.md").read_text().partition(f"\n## {section}\n")
    text, _, _ = rest.partition("\n## ")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:3] == "| `"]
    assert all(len(row) == 4 and all(row) for row in rows), section
    return {key.strip("`"): default for key, _, default, _ in rows}


@pytest.mark.parametrize(("section", "model"), SECTIONS.items())
def test_every_key_is_explained_with_its_default(section, model):
    explained = documented(section)
    assert list(explained) == list(model.model_fields)
    for key, field in model.model_fields.items():
        if field.is_required():
            assert explained[key] == "required"
        elif key == "kind":
            assert explained[key] == "the label"
        else:
            default = field.default.model_dump(exclude_defaults=True) if key == "augmentation" else field.default
            assert yaml.safe_load(explained[key].strip("`")) == default, key


def test_every_section_of_keys_is_tested():
    headings = re.findall(r"^## (.*)$", (CONFIG / "README.md").read_text(), re.MULTILINE)
    assert headings == list(SECTIONS)


def test_the_configuration_shown_as_an_example_is_sound(load):
    (example,) = re.findall(r"```yaml\n(.*?)```", (CONFIG / "README.md").read_text(), re.DOTALL)
    assert len(load(example).runs()) == 6


@pytest.mark.parametrize(
    "path", sorted(set(CONFIG.glob("*.yaml")) - {CONFIG / "claims.yaml"}), ids=lambda path: path.stem
)
def test_the_experiments_that_are_shipped_are_sound(path):
    loaded = configuration.load(path)
    assert loaded.runs()
    assert loaded.experiment == path.stem
