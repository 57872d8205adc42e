"""From records to tables, figures, verdicts and the page that shows them; no model is run here."""


rule summary:
    input:
        configuration=CONFIGURATION,
        records=records,
    output:
        directory(f"{EXPERIMENT}/summary"),
    log:
        f"{EXPERIMENT}/logs/summary.log",
    conda:
        ENVIRONMENT
    shell:
        f"python -m benchmark summary {WITH_RESULTS} > {{log}} 2>&1"


rule tables:
    input:
        f"{EXPERIMENT}/summary",
    output:
        report(
            directory(f"{EXPERIMENT}/tables"),
            patterns=["{table}.md"],
            caption="../report/tables.rst",
            category="Tables",
        ),
    log:
        f"{EXPERIMENT}/logs/tables.log",
    conda:
        ENVIRONMENT
    shell:
        f"python -m benchmark tables {WITH_RESULTS} > {{log}} 2>&1"


rule verdicts:
    input:
        f"{EXPERIMENT}/summary",
        claims=CLAIMS,
    output:
        f"{EXPERIMENT}/verdicts.json",
    log:
        f"{EXPERIMENT}/logs/verdicts.log",
    conda:
        ENVIRONMENT
    shell:
        f"python -m benchmark verdicts {WITH_RESULTS} --claims {{input.claims}} > {{log}} 2>&1"


rule figure:
    input:
        f"{EXPERIMENT}/summary",
        timings,
    output:
        multiext(f"{EXPERIMENT}/figures/{{figure}}", *FIGURE_SUFFIXES[:-1]),
        report(
            f"{EXPERIMENT}/figures/{{figure}}.svg",
            caption="../report/figures.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
    log:
        f"{EXPERIMENT}/logs/figure-{{figure}}.log",
    conda:
        ENVIRONMENT
    resources:
        processors=1,
    params:
        caption=caption,
    shell:
        f"python -m benchmark figure {{wildcards.figure}} {WITH_BOTH} > {{log}} 2>&1"


rule figures:
    input:
        figure_files,


rule page:
    input:
        f"{EXPERIMENT}/tables",
        f"{EXPERIMENT}/verdicts.json",
        figure_files,
    output:
        f"{EXPERIMENT}/report.html",
    log:
        f"{EXPERIMENT}/logs/report.log",
    conda:
        ENVIRONMENT
    shell:
        f"python -m benchmark report {WITH_RESULTS} > {{log}} 2>&1"
