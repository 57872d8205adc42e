"""Datasets, once each."""


# On a cluster, the node that submits jobs is often the only one that reaches the internet.
localrules:
    data,


rule data:
    output:
        touch(f"{DATASET}/data.ready"),
    log:
        f"{DATASET}/data.log",
    conda:
        ENVIRONMENT
    shell:
        f"python -m benchmark data {OF_DATASET} {WITH_DATA} > {{log}} 2>&1"
