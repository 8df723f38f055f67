"""Bugs in GLUE: (name, file, old, new, tests), for tests/mutants.py."""

DATA = "tests/test_glue_data.py"
FACTS = "tests/facts/test_glue_metrics.py"
ZIP = "tests/test_glue_submission.py"
PROBES, FROZEN = "tests/test_glue_frozen.py", "evaluate/glue_frozen.py"
READ, METRICS, SENT = "data/glue_read.py", "evaluate/glue_metrics.py", "evaluate/glue_submission.py"

# fmt: off
MUTANTS = [
    ("GLUE: the hub's numbers are taken for ours", "data/glue_hub.py",
     "value = names[value]", "value = list(spelled)[value]", f"{DATA}::test_the_hub_numbers_labels_otherwise"),  # noqa: E501
    ("GLUE: MNLI is learned from the first of five people", "data/glue.py",
     '"gold_label",\n        _THREE', '"label1",\n        _THREE',
     f"{DATA}::test_mnli_has_gold_labels_and_two_devs"),
    ("GLUE: test of QQP has the columns of train", "data/glue.py",
     '"id|question1|question2",\n            ragged',
     '"id|qid1|qid2|question1|question2",\n            ragged',
     f"{DATA}::test_qqp_has_other_columns_in_test_and_broken_rows_in_train"),
    ("GLUE: rows that are left out are not told", READ,
     "    if dropped:\n", "    if not dropped:\n",
     f"{DATA}::test_qqp_has_other_columns_in_test_and_broken_rows_in_train"),
    ("GLUE: another count is not told", READ,
     "if len(ids) != official:", "if len(ids) > official:",
     f"{DATA}::test_mnli_has_gold_labels_and_two_devs"),
    ("GLUE: a header is only counted", READ,
     "if tuple(cells) == tuple(columns):", "if len(cells) == len(columns):",
     f"{DATA}::test_wrong_rows_are_named"),
    ("GLUE: F1 of both classes", METRICS,
     "labels=[1], average", "labels=[0, 1], average", FACTS),
    ("GLUE: rounding correlates", METRICS,
     "FLAT = 1e-12", "FLAT = 0.0", FACTS),
    ("GLUE: every metric is a column of the official average", METRICS,
     "return fmean(fmean(scores[task][metric] for task, metric in column) for column in columns)",
     "return fmean(scores[task][metric] for column in columns for task, metric in column)", FACTS),
    ("GLUE: the BERT paper's STS-B is Pearson's", METRICS,
     '    (("stsb", "spearman"),),\n', '    (("stsb", "pearson"),),\n', FACTS),
    ("GLUE: scores are sent as they are", SENT,
     "np.clip(answers.predicted, *SCORES)", "answers.predicted",
     f"{ZIP}::test_labels_are_spelled_as_in_the_files"),
    ("GLUE: the files are in the order of the answers", SENT,
     "answers[name]) for name in FILES}", "answers[name]) for name in answers}",
     f"{ZIP}::test_the_same_answers_give_the_same_bytes"),
    ("GLUE: an id in a zip is not looked at", SENT,
     "if index == one and (", "if tab and (", f"{ZIP}::test_a_wrong_row_is_named"),
    ("GLUE: lines are counted from the first row", SENT,
     "enumerate(zip(rows, ids), start=2)", "enumerate(zip(rows, ids), start=1)",
     f"{ZIP}::test_a_wrong_row_is_named"),
    ("GLUE: the setting that is worst on train", FROZEN,
     "chosen = max(found", "chosen = min(found", PROBES),
    ("GLUE: the setting is chosen on what was fitted", FROZEN,
     "[x[apart]], seed=seed)[0]", "[x[kept][: len(apart)]], seed=seed)[0]", PROBES),
    ("GLUE: ridge's penalty does not grow with the examples", FROZEN,
     "alpha=penalty * len(y)", "alpha=penalty", PROBES),
    ("GLUE: the second text of a pair is the first", FROZEN,
     "replace(first, texts=texts.pairs, ", "replace(first, texts=texts.texts, ", PROBES),
]
# fmt: on
