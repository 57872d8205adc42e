"""What an experiment is: its configuration, one attempt at a run, and where a result comes from."""
