"""Bugs in the evaluation of speech: (name, file, old, new, tests), for tests/mutants.py."""

SPEECH = "tests/evaluation/test_speech.py"
FRAMES = f"{SPEECH}::test_features_are_means_over_the_frames_of_the_whole_recording"
MFCC = f"{SPEECH}::test_mfcc_statistics_are_those_of_each_recording_alone"
FOLDS = f"{SPEECH}::test_the_penalty_is_chosen_on_other_groups"
DEALT = f"{SPEECH}::test_many_groups_are_dealt_to_five_folds_of_one_size"
ACROSS = f"{SPEECH}::test_candidates_are_chosen_on_groups_that_were_not_learned_from"
LEAK = f"{SPEECH}::test_labels_of_the_group_that_is_left_out_choose_nothing"
OTHERS = f"{SPEECH}::test_every_example_is_predicted_by_a_probe_of_the_other_groups"
FEW = f"{SPEECH}::test_few_labels_are_those_of_a_curve"
FEW_LEAK = f"{SPEECH}::test_few_labels_choose_without_labels_of_the_test"
MINIMUM = f"{SPEECH}::test_the_weights_minimise_what_is_said"
SCALE = f"{SPEECH}::test_the_scale_of_a_layer_and_chance_do_not_matter"
ONE = f"{SPEECH}::test_one_layer_is_the_linear_probe"
SUMS = f"{SPEECH}::test_agreement_is_that_of_the_sums"
NONE = f"{SPEECH}::test_frames_that_are_none_are_left_out"

# fmt: off
# ruff: noqa: E501
MUTANTS = [
    # features of recordings
    ("padding counts in the mean of frames", "evaluation/features/audio.py",
     "mean = frames.masked_fill(beyond, 0).sum", "mean = frames.sum", FRAMES),
    ("padding counts in the deviation of frames", "evaluation/features/audio.py",
     "(frames - mean).masked_fill(beyond, 0)", "(frames - mean).nan_to_num(1)", FRAMES),
    ("pieces of a recording count the same, however long", "evaluation/features/audio.py",
     "apart * (count[row] / self.count[place])", "apart * (0.5 if before else 1.0)", FRAMES),
    ("deviations forget what lies between the pieces", "evaluation/features/audio.py",
     "squares[row] + between", "squares[row]", FRAMES),
    ("features in the order of their length", "evaluation/features/audio.py",
     "(batch.index.numpy(), count", "(batch.index.sort().values.numpy(), count", FRAMES),
    ("MFCC at the rate of the encoder", "evaluation/features/audio.py",
     "MFCC_HOP = RATE // 100", "MFCC_HOP = HOP", MFCC),
    # groups
    ("an example votes for itself when k is chosen", "evaluation/probes/knn.py",
     "similarity.masked_fill_(own, -torch.inf)", "similarity",
     "tests/evaluation/test_probe_numbers.py::test_k_is_chosen_by_leaving_one_out"),
    ("fitted again for each seed where every label is taken", "evaluation/probes/label_curve.py",
     "drawn = len(rows[0]) < len(labels) or not _is_fixed(predict)", "drawn = True",
     "tests/evaluation/test_probe_numbers.py::test_nothing_is_fitted_again_where_nothing_is_drawn"),
    ("folds by group go through the groups", "evaluation/probes/linear.py",
     "held_out(labels, seed=seed) if groups is None else by_group(labels, groups)", "held_out(labels, seed=seed)", FOLDS),
    ("many groups are dealt without a look at their size", "evaluation/probes/linear.py",
     "fold[group] = sizes.argmin()", "fold[group] = group % FOLDS", DEALT),
    ("the inner folds of a group left out are by class", "evaluation/probes/leave_one_group_out.py",
     "choose(features, labels, known, asked, groups=groups, seed=seed)", "choose(features, labels, known, asked, seed=seed)", ACROSS),
    ("the candidate that does best on the test", "evaluation/probes/leave_one_group_out.py",
     "fit.cross_validated or 0.0 for name", "float((fit.predicted == labels[test]).mean()) for name", LEAK),
    ("few labels: the candidate that does best on the test", "evaluation/probes/leave_one_group_out.py",
     "fit.cross_validated or 0.0 for name", "float((fit.predicted == labels[test]).mean()) for name", FEW_LEAK),
    ("the group left out is learned from", "evaluation/probes/leave_one_group_out.py",
     "np.flatnonzero(groups != group)", "np.flatnonzero(groups != -1)", OTHERS),
    ("few labels are drawn by one seed", "evaluation/probes/leave_one_group_out.py",
     "draw_labels(labels[train], per_class, seed)", "draw_labels(labels[train], per_class, seeds[0])", FEW),
    # the weighted sum of layers
    ("all layers weigh the same", "evaluation/probes/layer_mix.py",
     "[self.logits, self.W, self.bias],", "[self.W, self.bias],", MINIMUM),
    ("the bias is penalised", "evaluation/probes/layer_mix.py",
     "self.W.square().sum() + self.logits", "self.W.square().sum() + 50 * self.bias.square().sum() + self.logits", MINIMUM),
    ("layers are not standardised", "evaluation/probes/layer_mix.py",
     "scaled = self.scale.transform(_flat(x))", "scaled = _flat(x)", SCALE),
    ("a fold's penalty is that of all examples", "evaluation/probes/layer_mix.py",
     "penalty = 1 / (C * len(self.y))", "penalty = 1 / (C * 120)", ONE),
    # units
    ("information over the entropy of the units", "evaluation/scores/unit_agreement.py",
     "Agreement(shared / whole", "Agreement(shared / entropy(counts.sum(axis=1))", SUMS),
    ("the purities are exchanged", "evaluation/scores/unit_agreement.py",
     "for axis in (1, 0))", "for axis in (0, 1))", SUMS),
    ("frames that are none are a unit", "evaluation/scores/unit_agreement.py",
     "real = units >= 0", "real = units >= -1", NONE),
]
# fmt: on
