"""From records to tables, figures, verdicts and the page that shows them; no model is run here."""


localrules:
    reporting,


# An input of all that follows.  Its name carries a hash of the code and of the grid, so a change of either redraws everything.
rule reporting:
    output:
        touch(REPORTING),


if not FROM_SUMMARY:

    rule summary:
        input:
            REPORTING,
            asked_timings,
            records=records,
        output:
            directory(f"{EXPERIMENT}/summary"),
        log:
            f"{EXPERIMENT}/logs/summary.log",
        conda:
            ENVIRONMENT
        shell:
            f"python -m benchmark summary {WITH_RESULTS} {'--strict' * STRICT} > {{log:q}} 2>&1"


rule tables:
    input:
        REPORTING,
        f"{EXPERIMENT}/summary",
    output:
        report(
            directory(f"{EXPERIMENT}/tables"),
            patterns=["{table}.md"],
            caption="../report/tables.rst",
            category="3. Tables",
            labels={"what": "{table}"},
        ),
    log:
        f"{EXPERIMENT}/logs/tables.log",
    conda:
        ENVIRONMENT
    shell:
        f"python -m benchmark tables {WITH_RESULTS} > {{log:q}} 2>&1"


rule verdicts:
    input:
        REPORTING,
        f"{EXPERIMENT}/summary",
        claims=CLAIMS,
    output:
        f"{EXPERIMENT}/verdicts.json",
    log:
        f"{EXPERIMENT}/logs/verdicts.log",
    conda:
        ENVIRONMENT
    shell:
        f"python -m benchmark verdicts {WITH_RESULTS} --claims {{input.claims:q}} > {{log:q}} 2>&1"


rule figure:
    input:
        REPORTING,
        f"{EXPERIMENT}/summary",
        timings,
    output:
        multiext(f"{EXPERIMENT}/figures/{{figure}}", *FIGURE_SUFFIXES[:-1]),
        report(
            f"{EXPERIMENT}/figures/{{figure}}.svg",
            caption="../report/figures.rst",
            category="2. Figures",
            labels=figure_labels,
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
        f"python -m benchmark figure {{wildcards.figure}} {WITH_BOTH} > {{log:q}} 2>&1"


rule figures:
    input:
        REPORTING,
        figure_files,


rule page:
    input:
        REPORTING,
        f"{EXPERIMENT}/tables",
        f"{EXPERIMENT}/verdicts.json",
        figure_files,
    output:
        report(
            f"{EXPERIMENT}/report.html",
            caption="../report/page.rst",
            category="1. Findings",
            labels={"what": "the whole report"},
        ),
        f"{EXPERIMENT}/findings.json",
    log:
        f"{EXPERIMENT}/logs/report.log",
    conda:
        ENVIRONMENT
    shell:
        f"python -m benchmark report {WITH_RESULTS} > {{log:q}} 2>&1"


# Decisions are not declared as inputs: runs that were evaluated before they were kept have none, and the page says so.
rule explorer:
    input:
        REPORTING,
        f"{EXPERIMENT}/summary",
    output:
        f"{EXPERIMENT}/explorer.html",
    log:
        f"{EXPERIMENT}/logs/explorer.log",
    conda:
        ENVIRONMENT
    shell:
        f"python -m benchmark explorer {WITH_BOTH} > {{log:q}} 2>&1"


# Over all experiments of the folder: another one that has been made since is shown too.
rule start_page:
    input:
        f"{EXPERIMENT}/findings.json",
        other_findings,
    output:
        f"{RESULTS}/index.html",
    log:
        f"{EXPERIMENT}/logs/index.log",
    conda:
        ENVIRONMENT
    shell:
        f"python -m benchmark report {ALL_RESULTS} > {{log:q}} 2>&1"
