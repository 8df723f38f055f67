"""Bugs in retrieval: (name, file, old, new, tests), for tests/mutants.py."""

FACTS = "tests/evaluation/test_retrieval.py"
SHOWN = "tests/evaluation/test_retrieval_scores.py"
SEARCH, RESULT = "evaluation/probes/retrieval.py", "evaluation/scores/retrieval_score.py"

# ruff: noqa: E501
# fmt: off
MUTANTS = [
    ("a query finds itself", SEARCH,
     "own == query[:, None], -torch.inf", "own == query[:, None], 2.0", FACTS),
    ("of equally similar examples the right ones come first", SEARCH,
     "torch.searchsorted(far, near)", "torch.searchsorted(far, near, right=True)", FACTS),
    ("MAP@R is divided by what was found", SEARCH,
     "found[MAP] = (precision * inside).sum(dim=1) / others.double()",
     "found[MAP] = (precision * inside).sum(dim=1) / inside.sum(dim=1).clamp(min=1)", FACTS),
    ("MAP@R looks one rank beyond R", SEARCH,
     "inside = ranks <= others[:, None]", "inside = ranks <= others[:, None] + 1", FACTS),
    ("recall@k is the share of the k nearest", SEARCH,
     "(ranks[:, 0] <= k).double()", "(ranks <= k).sum(dim=1) / float(k)", FACTS),
    ("of other classes no more are counted than recall asks for", SEARCH,
     "min(n, max(least, width))", "min(n, least)", FACTS),
    ("what the queries found is in the order of their classes' sizes", SEARCH,
     ".cpu().numpy()[back] for", ".cpu().numpy() for", FACTS),
    ("examples alone in their class are searched for too", SEARCH,
     "rows = rows[others[rows] > 0]", "rows = rows[others[rows] > -1]", FACTS),
    ("a smaller class is filled up with the class behind it", SEARCH,
     "np.where(place < self.size[which], self.order[inside], rows[:, None])",
     "self.order[inside]", FACTS),
    ("a long vector is near to all", "evaluation/probes/knn.py",
     "near = F.normalize(torch.from_numpy(train).to(device), dim=1)",
     "near = torch.from_numpy(train).to(device)", f"{FACTS}::test_length_does_not_matter"),
    ("compared with the first untrained encoder alone", RESULT,
     "np.mean([one.values[measure] for one in several], axis=0)", "several[0].values[measure]",
     f"{SHOWN}::test_the_interval_is_paired_over_the_queries"),
    ("resamples of half the size, where values are hardly ever the same", "evaluation/scores/bootstrap.py",
     "random.integers(n, size=(size, n))", "random.integers(n, size=(size, n // 2))",
     f"{SHOWN}::test_an_interval_over_values_that_are_hardly_ever_the_same"),
    ("training examples need labels to be searched beside", "workflows/probe.py",
     "known = run.modality.examples(run, train, **reading)\n    return",
     "known = run.modality.examples(run, train, labelled=True, **reading)\n    return",
     f"{SHOWN}::test_other_classes_than_in_training_may_be_searched"),
    ("features of what is not searched", "workflows/probe.py",
     "embed(encoder, part) if part is asked else none", "embed(encoder, part)",
     f"{SHOWN}::test_no_features_are_computed_that_are_not_searched"),
]
# fmt: on
