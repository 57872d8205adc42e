"""The pipeline: data -> train -> evaluate -> summary -> tables, verdicts, figures -> report.

    snakemake --cores 8                                                      the quick experiment
    snakemake --cores 8 --config experiment=config/paper.yaml                another one
    snakemake --cores 8 --config experiment=config/paper.yaml partial=true   tables and figures of what has been recorded

`--config` also takes `results=` and `data=`, the folders of all results and all data.
"""

from snakemake.utils import min_version

min_version("9.10")


include: "workflow/rules/common.smk"


localrules:
    all,
    figures,
    latency,


# All that is to be there, not only the last step: Snakemake does not miss a deleted file that is on the way to nothing.
rule all:
    input:
        records,
        asked_timings,
        f"{EXPERIMENT}/report.html",
        f"{EXPERIMENT}/verdicts.json",
        f"{EXPERIMENT}/tables",
        figure_files,


if not PARTIAL:

    include: "workflow/rules/data.smk"
    include: "workflow/rules/runs.smk"


include: "workflow/rules/reporting.smk"


onerror:
    draw_partial_results()
