"""The grid: one training and one evaluation for every dataset, method and seed."""


# The checkpoint and run.json are no outputs: Snakemake deletes those of a failed job, and a training must go on from them.
rule train:
    input:
        # Ancient: data that is laid again is the same data, and nothing to train again for.
        data=ancient(f"{DATASET}/data.ready"),
    output:
        model=f"{RUN}/model.safetensors",
        history=f"{RUN}/history.csv",
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
        f"python -m benchmark train {OF_RUN} {WITH_BOTH} > {{log}} 2>&1"


rule evaluate:
    input:
        model=f"{RUN}/model.safetensors",
    output:
        records=f"{RUN}/records.parquet",
        costs=f"{RUN}/costs.json",
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
        f"python -m benchmark evaluate {OF_RUN} {WITH_BOTH} > {{log}} 2>&1"


# Not part of the default target: `snakemake latency` times the first seed of every dataset and method, one run at a time.
rule time_run:
    input:
        model=f"{RUN}/model.safetensors",
    output:
        f"{RUN}/latency.csv",
    log:
        f"{RUN}/latency.log",
    conda:
        ENVIRONMENT
    resources:
        processors=os.cpu_count(),
    shell:
        f"python -m benchmark latency {OF_RUN} {WITH_BOTH} > {{log}} 2>&1"


rule latency:
    input:
        [
            f"{run.folder(Path(RESULTS))}/latency.csv"
            for run in configuration.runs()
            if run.seed == configuration.seeds[0]
        ],
