"""Bugs of several processes: (name, file, old, new, tests), for tests/mutants.py."""

TESTS = "tests/distributed/test_processes.py"
LONG = f"{TESTS}::test_twenty_steps_of_two_processes_are_those_of_one"
NORM = f"{TESTS}::test_batch_norm_is_over_the_rows_of_both_in_float64[normalising]"

# ruff: noqa: E501
# fmt: off
MUTANTS = [
    ("processes: a row's gradient is that of its own process", "distributed/collectives.py",
     "dist.all_reduce(total)\n", "pass\n",
     f"{TESTS}::test_gathered_rows_carry_the_gradients_of_all[gathering]"),
    ("processes: partners are sought among the rows of other views", "methods/simclr.py",
     "nt_xent_shard(own, gather_views(own)", "nt_xent_shard(own, gather(own)",
     f"{TESTS}::test_nt_xent_has_the_negatives_of_both_in_float64[contrasting]"),
    ("processes: a mean of the means of each", "training/step.py",
     "counts = added_counts({name: count * mine.weight for name, count in counts.items()})",
     "counts = {name: count * world.size for name, count in counts.items()}", f"{LONG}[bert]"),
    ("processes: all draw the same", "training/step.py",
     "slice(mine.first + part.start, mine.first + part.stop)",
     "slice(part.start, part.stop)", f"{LONG}[supervised]"),
    ("processes: each goes its own way", "training/step.py",
     "add_gradients(method)\n", "pass\n", f"{LONG}[simclr]"),
    ("processes: each leaves out layers of its own", "nn/transformer.py",
     "keep = common(len(blocks))", "keep = torch.rand(len(blocks))",
     f"{TESTS}::test_layers_are_left_out_by_all_alike[dropping]"),
    ("processes: a row that goes along counts twice", "distributed/sharding.py",
     "weight=float(rank < total)", "weight=1.0", f"{TESTS}::test_fewer_rows_than_processes"),
    ("processes: batch norm weighs few rows like many", "distributed/sync_batchnorm.py",
     "share = counts / total", "share = torch.full_like(counts, 1 / len(counts))", NORM),
    ("processes: the variance that is kept is that of the batch", "distributed/sync_batchnorm.py",
     "self._remember(mean, var * (total / (total - 1)))", "self._remember(mean, var)", NORM),
    ("processes: a row moves the mean of its own process alone", "distributed/sync_batchnorm.py",
     "gather(torch.stack([by_weight, by_bias])[None]).sum(dim=0)",
     "torch.stack([by_weight, by_bias])", NORM),
    ("processes: one that is told to stop is not heard", "training/loop.py",
     "and bool(told)", "and bool(told > 1)",
     f"{TESTS}::test_all_stop_after_the_step_in_which_one_is_told_to"),
    ("processes: all of them write", "training/recorder.py",
     "first = parts.world.rank == 0", "first = True", f"{LONG}[simclr]"),
    ("processes: any number of micro-batches divides", "training/config.py",
     "pieces = options.devices * options.accumulate", "pieces = options.devices",
     f"{TESTS}::test_a_batch_that_does_not_divide"),
    ("processes: a script of SLURM waits for tasks that srun never started", "distributed/process_group.py",
     '"SLURM_STEP_NUM_TASKS", "1"', '"SLURM_NTASKS", "1"',
     f"{TESTS}::test_a_job_without_srun_is_one_process"),
]
# fmt: on
