"""Equal tuning: the same number of trials for every method, judged on validation; asked for by `snakemake tune`."""

from functools import cache

ONLY_ON = options(*(word for label in TUNED_ON for word in ("--dataset", label))) if "dataset" in config else ""
TRIAL = f"{EXPERIMENT}/tuning/{{dataset}}/{{method}}/trial{{number}}"


localrules:
    tune,


wildcard_constraints:
    number=r"\d+",


@cache
def untuned():
    """The experiment without the tuned settings that it may name: what tuning starts from."""
    return configurations.load(CONFIGURATION, tuned=False)


def trial_of(wildcards):
    """The trial that a rule's wildcards name."""
    from benchmark.tuning.trials import trial  # takes a second that other targets need not spend

    return trial(untuned(), wildcards.dataset, wildcards.method, int(wildcards.number))


def trial_files(wildcards) -> list[str]:
    """What all trials leave. The names carry the trials' identities, so a changed configuration needs other files."""
    from benchmark.tuning.trials import trials

    return [str(trial.points_file(Path(RESULTS))) for trial in trials(untuned(), TRIALS, TUNED_ON)]


# Its checkpoint, weights and history are not declared, for the reason given at `train`.
rule trial:
    input:
        ancient(prepared_mark),
    output:
        f"{TRIAL}/points-{{identity}}.json",
    log:
        f"{TRIAL}/trial-{{identity}}.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        processors=lambda wildcards, threads: threads,
    params:
        device=device,
    shell:
        f"python -m benchmark trial {OF_DATASET} --method {{wildcards.method}} --trial {{wildcards.number}} {WITH_BOTH} --device {{params.device}} --threads {{threads}} >> {{log:q}} 2>&1{IF_STOPPED}"


# Without an output: it always runs when asked for, since the settings that it writes lie beside the configuration, and
# Snakemake would delete them before it makes them again.
rule tune:
    input:
        trial_files,
    log:
        f"{EXPERIMENT}/logs/tune.log",
    conda:
        ENVIRONMENT
    shell:
        f"python -m benchmark tune {WITH_RESULTS} --trials {TRIALS} {ONLY_ON} 2>&1 | tee {{log:q}}"
