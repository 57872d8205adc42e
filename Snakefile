"""The pipeline: data -> train -> evaluate -> summary -> tables, verdicts, figures -> report.

    snakemake --cores 8                                                      the quick experiment
    snakemake --cores 8 --config experiment=config/paper.yaml                another one
    snakemake --cores 8 --config experiment=config/paper.yaml partial=true   tables and figures of what has been recorded
    snakemake --cores 8 --config from_summary=true                           the same of a summary whose records are gone
    snakemake tune --cores 8 --config experiment=config/paper.yaml trials=8  tune all methods, with equal numbers of trials

`--config` also takes `results=` and `data=`, the folders of all results and all data; `device=cpu` or `device=cuda`; and
`strict=true`, which refuses tables of runs made by different code, versions or hardware.
"""

from snakemake.utils import min_version

min_version("9.10")


include: "workflow/rules/settings.smk"
include: "workflow/rules/common.smk"
include: "workflow/rules/changes.smk"
include: "workflow/rules/progress.smk"


localrules:
    all,
    figures,
    latency,


# Every file that must exist, not only the last step: a deleted file that nothing else needs would not be made again.
rule all:
    input:
        changed_marks,
        REPORTING,
        records,
        asked_timings,
        f"{EXPERIMENT}/report.html",
        f"{EXPERIMENT}/explorer.html",
        f"{EXPERIMENT}/findings.json",
        f"{RESULTS}/index.html",
        f"{EXPERIMENT}/verdicts.json",
        f"{EXPERIMENT}/tables",
        figure_files,


if not PARTIAL:

    include: "workflow/rules/data.smk"
    include: "workflow/rules/runs.smk"
    include: "workflow/rules/tuning.smk"


include: "workflow/rules/reporting.smk"
include: "workflow/rules/endings.smk"
