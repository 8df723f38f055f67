"""Bugs in what is shown of GLUE: (name, file, old, new, tests), for tests/mutants.py."""

TESTS = "tests/test_glue_report.py"
PAGE, RECORDS = "report/glue.py", "records.py"

# fmt: off
MUTANTS = [
    ("glue page: the mean where the table has the median", PAGE,
     'f"{100 * values[found[\'centre\']]:.1f}"', 'f"{100 * values[\'mean\']:.1f}"',
     f"{TESTS}::test_the_section_has_the_scores_with_what_they_are_compared_to"),
    ("glue page: shares as percent", PAGE,
     '[100 * value for value in row[name]["values"]]', '[value for value in row[name]["values"]]',
     f"{TESTS}::test_the_section_has_the_scores_with_what_they_are_compared_to"),
    ("glue page: the interval is of the bag of words", PAGE,
     'row["against"].get("untrained")', 'row["against"].get("bag of words")',
     f"{TESTS}::test_the_section_has_the_scores_with_what_they_are_compared_to"),
    ("glue page: rows are taken as they are", RECORDS,
     "told = _GLUE_ROW | dict.fromkeys(names, _COMPETITOR)", "told = {}",
     f"{TESTS}::test_a_damaged_file_is_one_sentence"),
    ("glue page: a mode may stand for the other", RECORDS,
     'if found[-1]["mode"] != mode:', "if False:", f"{TESTS}::test_what_is_no_table_at_all"),
    ("glue page: nothing is left with the run", "glue.py",
     'replaced(run.folder / GLUE / f"{scores.mode}.json", json.dumps(told))', "pass",
     f"{TESTS}::test_a_measured_run_is_on_its_page"),
    ("glue page: a published score of another metric", "evaluate/glue_scores.py",
     "PUBLISHED.get((column, metric))", 'PUBLISHED.get(("wnli", metric))',
     f"{TESTS}::test_the_published_scores_are_beside_the_rows_they_belong_to"),
]
# fmt: on
