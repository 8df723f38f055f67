"""Bugs in features of texts: (name, file, old, new, tests), for tests/mutants.py."""

POOLING = "tests/facts/test_text_pooling.py"

# fmt: off
MUTANTS = [
    ("layers without the embeddings", "evaluate/text.py",
     "each = [encoder.embed(batch), *tokens]", "each = tokens", POOLING),
    ("layers from the last to the first", "evaluate/text.py",
     "*tokens]", "*tokens[::-1]]", POOLING),
    ("padding is part of a mean", "evaluate/text.py",
     "(tokens * valid[..., None]).sum(dim=1) / count[:, None]", "tokens.mean(dim=1)", POOLING),
    ("texts in the order of their lengths", "evaluate/text.py",
     "array[some] = one", "array[np.sort(some)] = one", POOLING),
    ("a layer beside all of them", "evaluate/text.py",
     "if pooling == LAYERS and layer is not None:", "if False:", POOLING),
]
