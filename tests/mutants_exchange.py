"""Bugs in export and import: (name, file, old, new, tests), for tests/mutants.py."""

TIMM = "tests/workflows/exchange/test_export_timm.py"
CARD = "tests/workflows/exchange/test_model_card.py"
ONNX = "tests/workflows/exchange/test_export_onnx.py"
IMPORT = "tests/workflows/exchange/test_import_images.py"

# ruff: noqa: E501
# fmt: off
MUTANTS = [
    ("timm is told that images have mean 0 and deviation 1", "workflows/exchange/to_timm.py",
     "mean, std = statistics(numbers(encoder.mean), numbers(encoder.std), channels)",
     "mean, std = statistics(None, None, channels)",
     f"{TIMM}::test_timm_finds_the_same_in_the_same_files[resnet normalised]"),
    ("what timm finds is not compared", "workflows/exchange/to_timm.py",
     "if not far <= MOST:", "if far > 1e9:",
     f"{TIMM}::test_a_model_that_timm_computes_in_another_way_is_not_written"),
    ("the biases of queries and values change places in timm's BEiT", "interop/timm/beit.py",
     '"attention.q_bias": "attn.q_bias",\n    "attention.v_bias": "attn.v_bias",',
     '"attention.q_bias": "attn.v_bias",\n    "attention.v_bias": "attn.q_bias",',
     f"{TIMM}::test_timm_finds_the_same_in_the_same_files[beit]"),
    ("cards read JPEGs at their whole size", "interop/image_preprocessing.py",
     "    image.draft(None, [-(-side * decode // short) for side in whole])\n", "",
     f"{CARD}::test_its_python_reads_large_and_odd_pictures_too"),
    ("a name may be an image", "workflows/exchange/model_card.py",
     r"[\\`*{}\[\]<>#|~&]", r"[\\`*{}\[\]#|~]",
     f"{CARD}::test_names_cannot_say_more_than_names"),
    ("scores of other weights are on the card", "workflows/exchange/model_card.py",
     'if f.get("weights", run.weights) == run.weights', 'if f["kind"]',
     f"{CARD}::test_what_it_says"),
    ("a run that was not trained here is said to be", "workflows/exchange/model_card.py",
     'return not (run.step == 0 and "imported" in run.config["found"])', "return True",
     f"{CARD}::test_where_weights_began"),
    ("BEiT's features of transformers without the last norm", "workflows/exchange/loading_images.py",
     "model.layernorm(found.hidden_states[-1][:, 1:])", "found.hidden_states[-1][:, 1:]",
     f"{CARD}::test_its_python_finds_our_features[method beit-hf-1]"),
    ("the batch of an ONNX model is that of the example", "interop/onnx.py",
     "        open_sizes=({0: _batch()},),\n", "        open_sizes=({},),\n",
     f"{ONNX}::test_features_of_files[resnet]"),
    ("pickles are loaded", "interop/huggingface/folder.py",
     "weights_only=True", "weights_only=False", f"{IMPORT}::test_no_pickle_is_loaded"),
    ("what a failed export has begun is left behind", "core/files.py",
     "        _remove(temporary)\n        raise", "        raise",
     f"{TIMM}::test_what_timm_cannot_be_told_is_named_with_what_works"),
    ("imported images keep the mean of 0", "workflows/exchange/vision.py",
     'return "unit" if unit else [mean, std]', 'return "unit"',
     f"{IMPORT}::test_timms_folder_gives_its_features[resnet]"),
]
# fmt: on
