"""The grid: one training and one evaluation for every dataset, method and seed."""


# What a training writes (checkpoint.pt, run.json, history.csv, model.safetensors) is not declared: Snakemake deletes the
# outputs of a failed job, and on a cluster those of all jobs that it was grouped with.  A lost mark costs seconds, since a
# run that is already trained is left as it is.
rule train:
    input:
        # Ancient: data that is laid again is the same data, and nothing to train again for.
        ancient(f"{DATASET}/data.ready"),
    output:
        touch(f"{RUN}/trained"),
    log:
        f"{RUN}/train.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        processors=lambda wildcards, threads: threads,
    params:
        digest=digest,
    shell:
        f"python -m benchmark train {OF_RUN} {WITH_BOTH} --threads {{threads}} > {{log}} 2>&1"


rule evaluate:
    input:
        f"{RUN}/trained",
    output:
        f"{RUN}/records.parquet",
        f"{RUN}/costs.json",
    log:
        f"{RUN}/evaluate.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        processors=lambda wildcards, threads: threads,
    params:
        digest=digest,
    shell:
        f"python -m benchmark evaluate {OF_RUN} {WITH_BOTH} --threads {{threads}} > {{log}} 2>&1"


# One run at a time, so that others do not disturb it, but with the threads that runs have by default: tiny batches are
# slower with more.
rule time_run:
    input:
        f"{RUN}/trained",
    output:
        f"{RUN}/latency.csv",
    log:
        f"{RUN}/latency.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        processors=os.cpu_count(),
    shell:
        f"python -m benchmark latency {OF_RUN} {WITH_BOTH} --threads {{threads}} > {{log}} 2>&1"


rule latency:
    input:
        first_seed_timings,
