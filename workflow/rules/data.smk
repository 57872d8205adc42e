"""Datasets, once each."""


# On a cluster, the node that submits jobs is often the only one that reaches the internet.
localrules:
    data,


# The mark lies beside the data and carries a hash of the dataset's parameters: another folder or another parameter needs
# another mark.
rule data:
    output:
        touch(f"{PREPARED}/{{dataset}}-{{identity}}.ready"),
    log:
        f"{EXPERIMENT}/logs/data-{{dataset}}-{{identity}}.log",
    conda:
        ENVIRONMENT
    shell:
        f"python -m benchmark data {OF_DATASET} {WITH_DATA} > {{log:q}} 2>&1"
