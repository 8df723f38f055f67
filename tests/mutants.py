"""Plant one bug at a time and see a test go red: `python -m tests.mutants [PART OF A NAME]`.

A suite that every one of these passes by would say nothing about the code.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests import mutants_text_data, mutants_text_methods, mutants_text_model

ROOT = Path(__file__).resolve().parent.parent
FACTS = "tests/facts"


class Mutant(NamedTuple):
    """A bug: in `file` the text `old` becomes `new`; some test in `tests` must fail."""

    name: str
    file: str
    old: str
    new: str
    tests: str


# fmt: off
# ruff: noqa: E501
MUTANTS = [
    # NT-Xent and SimCLR
    Mutant("nt_xent keeps the similarity with itself", "losses.py",
           ".fill_diagonal_(-torch.inf)", "", f"{FACTS}/test_losses.py"),
    Mutant("nt_xent's partner is off by one", "losses.py",
           ".roll(len(a))", ".roll(len(a) - 1)", f"{FACTS}/test_losses.py"),
    Mutant("nt_xent forgets the temperature", "losses.py",
           "(z @ z.T / temperature)", "(z @ z.T)", f"{FACTS}/test_losses.py"),
    Mutant("nt_xent in bf16", "losses.py",
           "enabled=False", "enabled=True", f"{FACTS}/test_losses.py"),
    Mutant("triplet without squares", "losses.py",
           "near = (anchor - positive).square()", "near = (anchor - positive).abs()",
           f"{FACTS}/test_losses.py"),
    Mutant("both views are the same one", "methods/simclr.py",
           "TwoViews(self.augment(batch, rng), self.augment(batch, rng))",
           "TwoViews(*[self.augment(batch, rng)] * 2)", f"{FACTS}/test_simclr.py"),
    Mutant("the loss is taken on h", "methods/simclr.py",
           "z = self.projection(self.encoder(torch.cat(view)).pooled)",
           "z = self.encoder(torch.cat(view)).pooled", "tests/test_contract.py"),
    Mutant("small images are blurred", "methods/simclr.py",
           "blur=(0.0 if small else 0.5)", "blur=0.5", f"{FACTS}/test_simclr.py"),
    Mutant("the head ends in a ReLU", "nn/heads.py",
           "nn.Linear(width, dim, bias=False), last)",
           "nn.Linear(width, dim, bias=False), last, nn.ReLU())", f"{FACTS}/test_simclr.py"),
    Mutant("SimCLR counts images, not views", "methods/simclr.py",
           "new_full((), 2 * len(view.a))", "new_full((), len(view.a))", "tests/test_contract.py"),
    # supervised
    Mutant("labels of the neighbour", "methods/supervised.py",
           "self.augment(batch.batch, rng), batch.label)",
           "self.augment(batch.batch, rng), batch.label.roll(1))", f"{FACTS}/test_supervised.py"),
    Mutant("the mean of a micro-batch instead of its sum", "methods/supervised.py",
           'reduction="sum"', 'reduction="mean"', f"{FACTS}/test_supervised.py"),
    Mutant("jitter where none was asked for", "methods/supervised.py",
           "jitter=0.8 if strength else 0.0", "jitter=0.8", f"{FACTS}/test_supervised.py"),
    # contracts
    Mutant("a view corrupts the batch in place", "methods/simclr.py",
           "        return TwoViews(", "        batch.x.add_(1)\n        return TwoViews(",
           "tests/test_contract.py"),
    Mutant("a view draws from the global state", "rng.py",
           "torch.rand(self.total or n, *shape, generator=self.generator)",
           "torch.rand(self.total or n, *shape)", "tests/test_contract.py"),
    Mutant("a slice draws its own numbers", "rng.py",
           "torch.rand(self.total or n, *shape, generator=self.generator), n)",
           "torch.rand(n, *shape, generator=self.generator), n)", "tests/test_contract.py"),
    # views
    Mutant("crops of one size for all", "views/image.py",
           "share = scale[0] + (scale[1] - scale[0]) * drawn[..., 0]",
           "share = scale[0] + (scale[1] - scale[0]) * drawn[:1, :, 0]",
           f"{FACTS}/test_view_draws.py"),
    Mutant("bicubic with another constant", "views/resample.py",
           "mul_(0.5))", "mul_(0.75))", "tests/parity/test_views.py"),
    Mutant("no antialiasing", "views/resample.py",
           "stretch = scale.clamp_min(1)", "stretch = torch.ones_like(scale)",
           "tests/parity/test_views.py"),
    # the loop
    Mutant("no zero_grad", "train/step.py",
           "    optimizer.zero_grad(set_to_none=True)\n", "", f"{FACTS}/test_fit.py"),
    Mutant("micro-batches divide by their own count", "train/step.py",
           "term.sum / counts[name]", "term.mean", f"{FACTS}/test_fit.py"),
    Mutant("dropout from the global state", "train/step.py",
           'torch.manual_seed(hashed(seed, "forward", step))', "torch.manual_seed(step) if 0 else 0",
           f"{FACTS}/test_fit.py"),
    Mutant("every step has the same views", "train/step.py",
           'generator(seed, "view", step)', 'generator(seed, "view")', f"{FACTS}/test_fit.py"),
    Mutant("the log is not cut back", "train/log.py",
           "file.truncate(offset)\n    file.seek(offset)", "file.seek(0, 2)",
           f"{FACTS}/test_fit.py"),
    Mutant("the optimiser starts afresh", "train/keep.py",
           "    checkpoint.load_optimizer(found, parts.inner)\n", "",
           f"{FACTS}/test_fit.py"),
    Mutant("the warm-up starts at zero", "train/schedule.py",
           "(step + 1) / warmup", "step / warmup", f"{FACTS}/test_schedule.py"),
    Mutant("LARS adapts biases", "train/optim.py",
           'group["adapt"] = group["decays"]\n    return LARS',
           'group["adapt"] = True\n    return LARS', "tests/parity/test_optim.py"),
    Mutant("LARS applies the rate after the momentum", "train/optim.py",
           'torch._foreach_add_(buffers, moves, alpha=group["lr"])\n            '
           "torch._foreach_sub_(params, buffers)",
           "torch._foreach_add_(buffers, moves)\n            "
           'torch._foreach_add_(params, buffers, alpha=-group["lr"])', "tests/parity/test_optim.py"),
    # checkpoints and evaluation
    Mutant("checksums are not looked at", "train/checkpoint.py",
           "if checksum(path) != expected.get(name):", "if False:", "tests/test_cli.py"),
    Mutant("pickles are loaded", "train/checkpoint.py",
           "torch.load(path, weights_only=True", "torch.load(path, weights_only=False",
           "tests/test_cli.py"),
    Mutant("a run folder is written over", "arguments.py",
           "if (out / config.FILE).is_file():", "if False:", "tests/test_cli.py"),
    Mutant("kNN votes without weights", "evaluate/knn.py",
           "(near.double() / temperature).exp()", "near.double().mul(0).exp()",
           f"{FACTS}/test_evaluation.py"),
    Mutant("the untrained twin keeps empty statistics", "evaluate/baselines.py",
           "            norm.train()\n", "", f"{FACTS}/test_evaluation.py"),
    Mutant("the bootstrap is not paired", "evaluate/compare.py",
           "correct_a.astype(np.float64) - correct_b.astype(np.float64)",
           "correct_a.astype(np.float64) - correct_b.astype(np.float64)[::-1]",
           f"{FACTS}/test_evaluation.py"),
    Mutant("the test set scales the features", "evaluate/linear.py",
           "model.predict(scale.transform(test))", "model.predict(scale.fit_transform(test))",
           "tests/parity/test_probes.py"),
    Mutant("the same permutation every epoch", "data/source.py",
           '"epoch", epoch', '"epoch", 0', f"{FACTS}/test_source.py"),
]
# fmt: on
MUTANTS += [
    Mutant(*one)
    for listed in (mutants_text_data, mutants_text_methods, mutants_text_model)
    for one in listed.MUTANTS
]  # fmt: skip


def caught(mutant: Mutant) -> tuple[bool, str]:
    """Copy the package, plant the bug, run the tests that should see it."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in ("selfwise", "tests"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        path = copy / "selfwise" / mutant.file
        text = path.read_text()
        if text.count(mutant.old) != 1:
            return False, f"the text to change occurs {text.count(mutant.old)} times"
        path.write_text(text.replace(mutant.old, mutant.new))
        environment = {**os.environ, "PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
        found = subprocess.run(
            [*command, mutant.tests], cwd=copy, env=environment, capture_output=True, text=True
        )
    last = (found.stdout.strip().splitlines() or ["no output"])[-1]
    # 1: a test failed. Anything else is no proof: nothing collected, a crash, an interrupt.
    return found.returncode == 1, last


def main() -> int:
    """Run all, or those whose name holds the first argument; 1 if any gets away."""
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    chosen = [m for m in MUTANTS if wanted in m.name]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(caught, chosen)
        alive = 0
        for mutant, (dead, line) in zip(chosen, results):
            alive += not dead
            print(f"{'caught' if dead else 'ALIVE '}  {mutant.name}  ({line})", flush=True)
    print(f"{len(chosen) - alive} of {len(chosen)} mutants caught")
    return min(alive, 1)


if __name__ == "__main__":
    sys.exit(main())
