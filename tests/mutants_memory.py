"""Bugs in keeping memory: (name, file, old, new, tests), as in `tests.mutants`."""

# fmt: off
# ruff: noqa: E501
MEMORY = "tests/core/test_memory.py"
UNITS = "tests/runs/test_units.py::test_memory_is_kept_while_units_are_learned"

MUTANTS = [
    ("large blocks are mapped apart all the same", "core/memory.py",
     "{TRIM_THRESHOLD: -1, MMAP_MAX: 0}", "{TRIM_THRESHOLD: -1}", f"{MEMORY}::test_what_is_freed_is_there_for_the_next_one"),
    ("memory is given back while it is still kept", "core/memory.py",
     "            if not _inside[0]:\n", "            if True:\n", f"{MEMORY}::test_it_is_given_back_at_the_end_of_the_outermost"),
    ("memory is never given back", "core/memory.py",
     "                _give_back()\n", "", f"{MEMORY}::test_it_is_given_back_at_the_end_of_the_outermost"),
    ("memory stays kept after a mistake", "core/memory.py",
     "    try:\n        yield\n    finally:\n        with", "    if True:\n        yield\n        with", f"{MEMORY}::test_a_mistake_inside_ends_it"),
    ("a C library without mallopt ends the run", "core/memory.py",
     "return getattr(ctypes.CDLL(None), name, None)", "return getattr(ctypes.CDLL(None), name)", f"{MEMORY}::test_without_the_functions_of_the_c_library_nothing_happens"),
    ("a user's own setting is overruled", "core/memory.py",
     "        return None\n    try:", "        pass\n    try:", f"{MEMORY}::test_a_user_who_says_how_memory_is_kept_is_not_overruled"),
    ("a run gives memory back", "training/loop.py",
     "        keep_freed_memory(),\n        _lock_run", "        _lock_run", f"{MEMORY}::test_a_run_keeps_memory_also_after_a_probe_has_read"),
    ("reading gives memory back", "evaluation/features/image.py",
     "with torch.no_grad(), keep_freed_memory(), expl", "with torch.no_grad(), expl", f"{MEMORY}::test_a_run_keeps_memory_also_after_a_probe_has_read"),
    ("the first minutes are measured without the memory of a run", "training/step_time.py",
     "with threads(options.threads), keep_freed_memory(), alone(), expl", "with threads(options.threads), alone(), expl", f"{MEMORY}::test_what_is_measured_has_the_memory_of_a_run"),
    ("bench measures without the memory of a run", "profiling/step_timer.py",
     "with threads(options.threads), keep_freed_memory(), expl", "with threads(options.threads), expl", f"{MEMORY}::test_what_is_measured_has_the_memory_of_a_run"),
    ("fine-tuning gives memory back", "glue/training.py",
     "with _own_randomness(self.device), keep_freed_memory():", "with _own_randomness(self.device):", "tests/glue/test_finetune.py::test_memory_is_kept_while_a_model_is_trained"),
    ("learning units of sound gives memory back", "modalities/audio_units.py",
     "    with keep_freed_memory():\n", "    if True:\n", f"{UNITS}[hubert]"),
    ("learning units of images gives memory back", "modalities/image_units.py",
     "    with keep_freed_memory():\n", "    if True:\n", f"{UNITS}[beit]"),
]
