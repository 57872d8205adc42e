"""The grid: one training and one evaluation for every dataset, method and seed."""

# A training that Slurm has warned of its time limit leaves a checkpoint and status 75.  It goes back into the queue as the
# same job, since a failure would use up a retry and ask for more memory.  A job that is ending already is left alone.
CONTINUE_IN_THE_QUEUE = (
    "status=$?; "
    'if [ $status = 75 ] && [ "$(squeue --noheader --format=%T --job "$SLURM_JOB_ID")" = RUNNING ]; then '
    'scontrol requeue "$SLURM_JOB_ID" && sleep 60; fi; exit $status'
)
IF_STOPPED = f" || {{{{ {CONTINUE_IN_THE_QUEUE}; }}}}" if workflow.remote_exec and "SLURM_JOB_ID" in os.environ else ""


localrules:
    changed,


# Nothing but an input that is newer than what was trained before: with it, Snakemake plans the run again.
rule changed:
    output:
        temp(touch(f"{RUN}/changed")),


# What a training writes (checkpoint.pt, run.json, history.csv, model.safetensors) is not declared: Snakemake deletes the
# outputs of a failed job, and on a cluster those of all jobs that it was grouped with.  A lost mark costs seconds, since a
# run that is already trained is left as it is.
rule train:
    input:
        # Ancient: data prepared again is the same data, and no reason to train again.
        ancient(prepared_mark),
        changed_mark,
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
        device=device,
    # Appended, so that the log of a run that was stopped and resumed covers all its attempts.
    shell:
        f"python -m benchmark train {OF_RUN} {WITH_BOTH} --device {{params.device}} --threads {{threads}} >> {{log:q}} 2>&1{IF_STOPPED}"


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
        device=device,
    shell:
        f"python -m benchmark evaluate {OF_RUN} {WITH_BOTH} --device {{params.device}} --threads {{threads}} > {{log:q}} 2>&1"


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
    params:
        device=device,
    shell:
        f"python -m benchmark latency {OF_RUN} {WITH_BOTH} --device {{params.device}} --threads {{threads}} > {{log:q}} 2>&1"


rule resources_of_run:
    input:
        f"{RUN}/trained",
    output:
        f"{RUN}/resources.csv",
    log:
        f"{RUN}/resources.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        processors=os.cpu_count(),
    params:
        device=device,
    shell:
        f"python -m benchmark resources {OF_RUN} {WITH_BOTH} --device {{params.device}} --threads {{threads}} > {{log:q}} 2>&1"


rule latency:
    input:
        changed_marks,
        first_seed_timings,
