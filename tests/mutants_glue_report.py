"""Bugs in what is shown of GLUE: (name, file, old, new, tests), for tests/mutants.py."""

TESTS = "tests/glue/test_report.py"
PAGE, DOTS, RECORDS = "report/sections/glue.py", "report/sections/glue_dots.py", "runs/records.py"
ONE = f"{TESTS}::test_the_section_has_the_scores_with_what_they_are_compared_to"
SEVERAL = f"{TESTS}::test_several_runs_have_a_column_each"
NEWEST = f"{TESTS}::test_the_newest_table_of_a_mode_and_step_counts"

# fmt: off
MUTANTS = [
    ("glue page: the mean where the table has the median", PAGE,
     'percent(values[found["centre"]], values["deviation"])',
     'percent(values["mean"], values["deviation"])', ONE),
    ("glue page: the figure has the mean where the table has the median", PAGE,
     '{place: row[found["centre"]] for', '{place: row["mean"] for', ONE),
    ("glue page: shares as percent", DOTS,
     "seeds = [(100 * value, y)", "seeds = [(value, y)", ONE),
    ("glue page: an interval begins at the difference", PAGE,
     'low, high = 100 * one["low"]', 'low, high = 100 * one["difference"]', ONE),
    ("glue page: runs have the colours of others", PAGE,
     "color(names.index(name))", "color(1 + names.index(name))", SEVERAL),
    ("glue page: other data are compared", PAGE,
     "any(one != told[0] for one in told)", "False", SEVERAL),
    ("glue page: older weights are the newest", PAGE,
     'if found["step"] == step]', "if step >= 0]",
     f"{TESTS}::test_tables_of_older_weights_say_so"),
    ("glue page: nothing is known in spite of GLUE", "report/sections/scores.py",
     " and not glue.of_newest(folder)", "", f"{TESTS}::test_tables_of_older_weights_say_so"),
    ("glue page: rows are taken as they are", RECORDS,
     "told = _GLUE_ROW | dict.fromkeys(names, _COMPETITOR)", "told = {}",
     f"{TESTS}::test_a_damaged_file_is_one_sentence"),
    ("glue page: the oldest table counts", RECORDS,
     "_wrong_glue) for path in _oldest_first(folder / GLUE)]",
     "_wrong_glue) for path in _oldest_first(folder / GLUE)[::-1]]", NEWEST),
    ("glue page: nothing is left with the run", "glue/results.py",
     "replaced(place, json.dumps(table))", "pass",
     f"{TESTS}::test_a_measured_run_is_on_its_page"),
    ("glue page: a published score of another metric", "glue/scores.py",
     "PUBLISHED.get((column, metric))", 'PUBLISHED.get(("wnli", metric))',
     f"{TESTS}::test_the_published_scores_are_beside_the_rows_they_belong_to"),
    ("glue page: medians pass for what the differences are of", "glue/scores.py",
     'return CENTRES[self.mode] == "median" and several', "return False", ONE),
]
# fmt: on
