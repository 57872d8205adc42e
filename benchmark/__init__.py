"""The harness: data, training, evaluation, compute, latency, statistics, tables, figures and report."""
