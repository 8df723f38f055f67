"""Bugs in features of texts: (name, file, old, new, tests), for tests/mutants.py."""

POOLING = "tests/evaluation/test_text_pooling.py"

# ruff: noqa: E501
# fmt: off
MUTANTS = [
    ("layers without the embeddings", "evaluation/features/text.py",
     "each = [encoder.embed(batch), *tokens]", "each = tokens", POOLING),
    ("layers from the last to the first", "evaluation/features/text.py",
     "*tokens]", "*tokens[::-1]]", POOLING),
    ("padding is part of a mean", "evaluation/features/text.py",
     "(tokens * valid[..., None]).sum(dim=1) / count[:, None]", "tokens.mean(dim=1)", POOLING),
    ("texts in the order of their lengths", "evaluation/features/text_windows.py",
     "array[self.windows.owner[some[alone]]] = each[alone]", "array[np.sort(self.windows.owner[some[alone]])] = each[alone]", POOLING),
    ("windows count the same, however long", "evaluation/features/text_windows.py",
     "share = max(1, int(self.windows.tokens[window])) / self.total[text]", "share = 1 / np.bincount(self.windows.owner)[text]", "tests/evaluation/test_text_windows.py"),
    ("deviations of windows are averaged", "evaluation/features/text_windows.py",
     "vector = np.concatenate([mean, deviation**2 + mean**2])", "vector = np.concatenate([mean, deviation**2])", "tests/evaluation/test_text_windows.py"),
    ("a layer beside all of them", "evaluation/features/text.py",
     "if pooling == LAYERS and layer is not None:", "if False:", POOLING),
]
