"""Bugs in what puts units, iterations and the loop together, for tests/mutants.py."""

FIT, RUNS = "tests/training/test_fit.py", "tests/runs/test_units.py"
IMAGES, USE = "tests/runs/test_unit_images.py", "tests/workflows/test_use.py"

# fmt: off
# ruff: noqa: E501
MUTANTS = [
    ("a model is read with other options than it was trained with", "runs/build.py",
     "    check_unchanged(folder, found)\n", "", "tests/runs/test_settled.py::test_another_size_is_no_model"),
    ("only forward is compiled", "training/compile.py",
     'for name in ("forward", "at") if blocks', 'for name in ("extend",) if blocks', "tests/training/test_compile.py::test_every_block_is_compiled"),
    ("a resume does not look at run.yaml", "runs/launch.py",
     "        check_settled(folder, saved)\n", "        pass\n", "tests/runs/test_settled.py::test_another_option_is_no_resume"),
    ("how a task was made is not kept", "runs/create.py",
     'settings["found"]["about"] = about', "pass", "tests/workflows/test_use.py::test_how_a_task_was_made_is_said_once_and_kept"),
    ("the wave is rounded before autocast", "training/step.py",
     "        return data\n", "        return super().convert_input(data)\n", f"{FIT}::test_half_precision_leaves_the_view_as_it_is"),
    ("the last micro-batch is lost", "training/step.py",
     "range(0, batch, size)]", "range(0, batch - size + 1, size)]", f"{FIT}::test_micro_batches_have_every_row_once"),
    ("clusters of the recordings that are held out", "modalities/audio_units.py",
     "Chunks(parts[0], order=SEED)", "Chunks(parts[-1], order=SEED)", f"{RUNS}::test_units_are_learned_from_what_is_trained_on_alone"),
    ("the next iteration clusters the last layer", "workflows/iterate.py",
     '"units_layer": next_layer}', '"units_layer": -1}', f"{RUNS}::test_the_second_iteration_has_the_units_of_the_firsts_layer"),
    ("a warm iteration starts cold", "workflows/iterate.py",
     'told |= {"start": str(run.folder)} if warm else {}', "pass", f"{RUNS}::test_the_second_iteration_has_the_units_of_the_firsts_layer"),
    ("the mask does not go on with the weights", "runs/build.py",
     "for name in model.carried:", "for name in ():", f"{RUNS}::test_weights_that_a_run_starts_from"),
    ("what a recipe does not choose is compared", "runs/resume.py",
     "value is not None and ", "", f"{USE}::test_a_recipe_goes_on_only_with_its_own_run"),
    ("units are learned again each time", "core/make_once.py",
     "if not (home / DONE).is_file():", "if True:", f"{RUNS}::test_units_are_learned_once"),
    ("image units of another layer", "modalities/image_units.py",
     "tokens = _on(self.encoder, x).hidden(x)[self.layer].tokens", "tokens = _on(self.encoder, x).hidden(x)[0].tokens", f"{RUNS}::test_beit_predicts_clusters_of_a_layer_of_an_earlier_run"),
    ("grey units for colour", "modalities/image_units.py",
     "key += (images.channels, decode)", "key += (decode,)", f"{IMAGES}::test_units_are_those_of_images_read_the_same_way"),
]
