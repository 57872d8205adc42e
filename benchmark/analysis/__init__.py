"""Analysis: from records to estimates, tables and verdicts."""
