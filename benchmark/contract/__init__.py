"""What the harness may rely on, for every method and every dataset: `checks` and `dataset_checks` test any kind."""
