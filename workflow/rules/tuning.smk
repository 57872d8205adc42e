"""Equal tuning: the same number of trials for every method, judged on validation; asked for by `snakemake tune`."""

ONLY_ON = options(*(word for label in TUNED_ON for word in ("--dataset", label))) if "dataset" in config else ""
TRIAL = f"{EXPERIMENT}/tuning/{{dataset}}/{{method}}/trial{{number}}"


localrules:
    tune,


wildcard_constraints:
    number=r"\d+",


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
