"""What the command line may say to the pipeline: understood, or refused before anything runs."""

import pytest

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


def test_a_wrong_configuration_is_refused_in_one_message_before_anything_runs(run, tmp_path):
    (tmp_path / "grid.yaml").write_text(GRID.replace("epochs", "epoch"))
    status, output = run(tmp_path, "--cores", "2")
    assert status != 0
    assert "grid.yaml" in output
    assert "epoch" in output
    assert "Did you mean 'epochs'?" in output
    assert "Traceback" not in output
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["seeds=3"], "All else is set in the experiment's file"),
        (["experment=grid.yaml"], "Did you mean 'experiment'?"),
        (["device=gpu"], "must be auto, cpu or cuda"),
        (["partial=maybe"], "must be true or false"),
        (["experiment=grid.yaml", "from_summary=true"], "there is no summary in results/"),
        (["results={seed}"], "braces"),
        (["experiment=grid.yaml", "dataset=maze"], "has no dataset 'maze'"),
        (["trials=0"], "must be a whole number of 1 or more"),
    ],
)
def test_a_setting_that_would_be_ignored_is_refused(run, tmp_path, settings, message):
    (tmp_path / "grid.yaml").write_text(GRID)
    status, output = run(tmp_path, "--cores", "1", "--dry-run", "--config", *settings)
    assert status != 0
    assert message in output
    assert "Traceback" not in output


def test_a_configuration_given_as_snakemakes_own_is_recognised(run, tmp_path):
    (tmp_path / "grid.yaml").write_text(GRID)
    status, output = run(tmp_path, "--cores", "1", "--dry-run", "--configfile", "grid.yaml")
    assert status != 0
    assert "--config experiment=" in output
    assert "grid.yaml; --configfile is for" in output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "normalised"), [("../r/", "../r"), ("./r", "r"), ("2024", "2024"), (".", "miniature")]
)
def test_every_spelling_of_a_folder_is_the_same_folder(run, tmp_path, given, normalised):
    (tmp_path / "grid.yaml").write_text(GRID)
    options = ("--dry-run", "--cores", "1", "--config", "experiment=grid.yaml", f"results={given}")
    status, output = run(tmp_path, *options)
    assert status == 0, output
    assert f" {normalised}/" in output
    assert "double" not in output
