"""Bugs in `selfwise glue`: (name, file, old, new, tests), for tests/mutants.py."""

RUNS = "tests/test_glue_runs.py"
KEPT, AMONG = "evaluate/glue_kept.py", "glue_competitors.py"

# fmt: off
MUTANTS = [
    ("glue runs: a seed that was fitted stands for all", KEPT,
     'any((fit["competitor"], fit["seed"]) == (competitor, seed) for',
     'any(fit["competitor"] == competitor for',
     f"{RUNS}::test_a_killed_run_goes_on_where_it_stopped"),
    ("glue runs: the worst seed is sent", KEPT,
     "best = max(own", "best = min(own",
     f"{RUNS}::test_what_is_sent_is_the_seed_that_is_best_on_dev"),
    ("glue runs: other data are not seen", KEPT,
     "    if differing:", "    if not differing and not self.found:",
     f"{RUNS}::test_the_command_and_its_mistakes"),
    ("glue runs: one twin for all seeds", AMONG,
     "run.fresh(seed)", "run.fresh(0)",
     f"{RUNS}::test_every_seed_draws_its_rows_and_its_twin"),
    ("glue runs: WNLI is answered with the rarer class", AMONG,
     "np.bincount(labels).argmax()", "np.bincount(labels).argmin()",
     f"{RUNS}::test_wnli_is_answered_with_the_majority_unless_a_probe_is_asked_for"),
    ("glue runs: every seed has the same rows", "evaluate/glue_material.py",
     "shuffled(len(train), seed, ", "shuffled(len(train), 0, ",
     f"{RUNS}::test_every_seed_draws_its_rows_and_its_twin"),
    ("glue runs: F1 of the wrong class is resampled", "evaluate/glue_compare.py",
     "hits = counts[:, 1, 1]", "hits = counts[:, 0, 0]",
     f"{RUNS}::test_a_resampled_metric_is_the_metric_where_it_is_undefined_too"),
    ("glue runs: the mean of what is here is over metrics", "evaluate/glue_scores.py",
     "found = [fmean(means[name][metric] for name, metric in column) for column in columns]",
     "found = [means[name][metric] for column in columns for name, metric in column]",
     f"{RUNS}::test_averages_are_of_the_mean_or_the_median_over_seeds"),
    ("glue runs: the untrained twin is tuned from the run", "glue_tuning.py",
     "is None and fresh", "is None and not fresh",
     f"{RUNS}::test_fine_tuning_starts_from_the_run_and_its_twin_from_fresh_weights"),
]
# fmt: on
