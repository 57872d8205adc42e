"""What `--config` may say, and the experiment's configuration: both are checked before anything runs."""

import difflib
import os
import sys

from benchmark.errors import UserError
from benchmark.experiment import configuration as configurations

SETTINGS = ("experiment", "results", "data", "device", "partial", "from_summary", "strict", "trials", "dataset")


def folder_setting(key: str) -> str:
    """A folder, normalised (`./r`, `../r/`), since Snakemake compares paths as text."""
    folder = os.path.normpath(os.path.expanduser(str(config.get(key, key))))
    if "{" in folder or "}" in folder:
        raise UserError(f"{key}={folder}: braces are Snakemake's wildcards; name a folder without them.")
    return folder


def switch(key: str) -> bool:
    """A setting that is on or off."""
    given = str(config.get(key, False)).lower()
    if given not in ("true", "false"):
        raise UserError(f"{key}={given}: must be true or false.")
    return given == "true"


def count(key: str, default: int) -> int:
    """A setting that is a whole number of 1 or more."""
    given = str(config.get(key, default))
    if not given.isdigit() or int(given) < 1:
        raise UserError(f"{key}={given}: must be a whole number of 1 or more.")
    return int(given)


def check_settings() -> None:
    """Refuse a setting that nobody reads: a typo would otherwise run another experiment than the one meant."""
    if "datasets" in config or "methods" in config:
        path = workflow.configfiles[-1] if workflow.configfiles else "config/mine.yaml"
        raise UserError(
            f"An experiment is named by --config experiment={path}; --configfile is for {', '.join(SETTINGS)}."
        )
    for key in config:
        if key not in SETTINGS:
            close = difflib.get_close_matches(key, SETTINGS, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"There are: {', '.join(SETTINGS)}."
            raise UserError(
                f"--config {key}=...: there is no such setting. {hint} All else is set in the experiment's file."
            )
    if config.get("device", "auto") not in ("auto", "cpu", "cuda"):
        raise UserError(f"device={config['device']}: must be auto, cpu or cuda.")


try:
    check_settings()
    CONFIGURATION = str(config.get("experiment", "config/quick.yaml"))
    RESULTS, DATA = folder_setting("results"), folder_setting("data")
    # Whether to draw from the summary that is there, where records are not: published results have none.
    FROM_SUMMARY = switch("from_summary")
    # Whether to stop at tables and figures of the records that exist, with the missing runs as visible holes.
    PARTIAL = switch("partial") or FROM_SUMMARY
    # Whether to refuse tables of runs made by different code, versions or hardware.
    STRICT = switch("strict")
    # How many trials `snakemake tune` gives every method on every dataset.
    TRIALS = count("trials", 8)
    configuration = configurations.load(CONFIGURATION)
    # The datasets on which `snakemake tune` tunes.
    TUNED_ON = str(config["dataset"]).split(",") if "dataset" in config else list(configuration.datasets)
    for label in TUNED_ON:
        configuration.dataset(label)
    if FROM_SUMMARY and not os.path.exists(f"{RESULTS}/{configuration.experiment}/summary/runs.parquet"):
        raise UserError(f"from_summary=true: there is no summary in {RESULTS}/{configuration.experiment}.")
except UserError as error:  # one message, instead of Snakemake's view of an exception
    sys.exit(f"error: {error}")
