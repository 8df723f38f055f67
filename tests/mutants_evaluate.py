"""Bugs in the evaluation of speech: (name, file, old, new, tests), for tests/mutants.py."""

SPEECH = "tests/test_evaluate_speech.py"

# fmt: off
# ruff: noqa: E501
MUTANTS = [
    # features of recordings
    ("padding counts in the mean of frames", "evaluate/speech.py",
     "mean = frames.masked_fill(beyond, 0)", "mean = frames.nan_to_num(0)", SPEECH),
    ("pieces of a recording count the same, however long", "evaluate/speech.py",
     "apart * (count[row] / self.count[place])", "apart * (0.5 if before else 1.0)", SPEECH),
    ("deviations forget what lies between the pieces", "evaluate/speech.py",
     "squares[row] + between", "squares[row]", SPEECH),
    ("features in the order of their length", "evaluate/speech.py",
     "found.add(batch.index.numpy()", "found.add(batch.index.sort().values.numpy()", SPEECH),
    ("a frame too many", "evaluate/speech.py",
     "((extent - WINDOW) // hop + 1).clamp(min=0)", "((extent - WINDOW) // hop + 2).clamp(min=0, max=(width - WINDOW) // hop + 1)", SPEECH),
    ("MFCC at the rate of the encoder", "evaluate/speech.py",
     "MFCC_HOP = RATE // 100", "MFCC_HOP = HOP", SPEECH),
    # groups
    ("folds by group go through the groups", "evaluate/linear.py",
     "held_out(labels, seed=seed) if groups is None else by_group(labels, groups)", "held_out(labels, seed=seed)", SPEECH),
    ("many groups are dealt without a look at their size", "evaluate/linear.py",
     "fold[group] = sizes.argmin()", "fold[group] = group % FOLDS", SPEECH),
    ("the inner folds of a group left out are by class", "evaluate/groups.py",
     "choose(features, labels, known, asked, groups=groups, seed=seed)", "choose(features, labels, known, asked, seed=seed)", SPEECH),
    ("the candidate that does best on the test", "evaluate/groups.py",
     "fit.cross_validated or 0.0 for name", "float((fit.predicted == labels[test]).mean()) for name", SPEECH),
    ("the group left out is learned from", "evaluate/groups.py",
     "np.flatnonzero(groups != group)", "np.flatnonzero(groups != -1)", SPEECH),
    ("few labels are drawn by one seed", "evaluate/groups.py",
     "draw_labels(labels[train], per_class, seed)", "draw_labels(labels[train], per_class, seeds[0])", SPEECH),
    # the weighted sum of layers
    ("all layers weigh the same", "evaluate/weighted.py",
     "[self.logits, self.W, self.bias],", "[self.W, self.bias],", SPEECH),
    ("layers are not standardised", "evaluate/weighted.py",
     "scaled = self.scale.transform(_flat(x))", "scaled = _flat(x)", SPEECH),
    ("the bias is penalised", "evaluate/weighted.py",
     "self.W.square().sum() + self.logits", "self.W.square().sum() + 50 * self.bias.square().sum() + self.logits", SPEECH),
    # units
    ("information over the entropy of the units", "evaluate/units.py",
     "Agreement(shared / whole", "Agreement(shared / entropy(counts.sum(axis=1))", SPEECH),
    ("the purities are exchanged", "evaluate/units.py",
     "for axis in (1, 0))", "for axis in (0, 1))", SPEECH),
    ("frames that are none are a unit", "evaluate/units.py",
     "real = units >= 0", "real = units >= -1", SPEECH),
]
# fmt: on
