"""Equal tuning: the same number of trials for every method, from declared search spaces, judged on validation alone."""
