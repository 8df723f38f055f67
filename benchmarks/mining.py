"""Semi-hard triplets: selfwise against pytorch-metric-learning, by turns, on the same batches.

    python -m benchmarks.mining [--threads 2] [--rounds 7] [--clock wall]

Each side normalises n embeddings of 128 numbers, mines, and computes loss and gradient: the whole
of what a training step has behind the encoder. n is P identities with K images in any order;
K = 2 are the two views of self-supervised use. Both use squared distances and margin 0.2.
selfwise takes the nearest semi-hard negative of each pair, as the paper can be read;
pytorch-metric-learning's miner takes all of them, for which it lists every triplet there is: up to
n^2 K of them, so that its time and memory are those of its way and not of another programming of
ours. Where that list would have more than `--most` entries it is left out, and the output says so.
Memory is how far the process grows, in one step of a fresh process.

On a machine that does other work too, `--threads 1 --clock processor` counts only what each side
takes itself.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.miners import TripletMarginMiner
from torch import Tensor

from benchmarks.circumstances import circumstances, write
from selfwise.mining import partners, triplet_step
from selfwise.rng import generator

DIM, MARGIN = 128, 0.2
CASES = [(256, 2), (256, 4), (1024, 2), (1024, 4), (1024, 32), (4096, 2), (4096, 4), (4096, 32)]
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
Side = Callable[[Tensor, Tensor], Tensor]  # embeddings, identities -> loss


def selfwise_loss(z: Tensor, identity: Tensor) -> Tensor:
    return triplet_step(z, identity, partners(identity), mining="semihard", margin=MARGIN).loss


def pml_loss(z: Tensor, identity: Tensor) -> Tensor:
    distance = LpDistance(normalize_embeddings=True, p=2, power=2)
    miner = TripletMarginMiner(margin=MARGIN, type_of_triplets="semihard", distance=distance)
    loss = TripletMarginLoss(margin=MARGIN, distance=distance)
    return loss(z, identity, miner(z, identity))  # type: ignore[no-any-return]


SIDES: dict[str, Side] = {"pytorch-metric-learning": pml_loss, "selfwise": selfwise_loss}


def batch(n: int, k: int) -> tuple[Tensor, Tensor]:
    """Embeddings that identities have begun to shape, and identities, shuffled."""
    draw = generator(0, "benchmark", n, k)
    identity = (torch.arange(n) // k)[torch.randperm(n, generator=draw)]
    middles = torch.randn(n // k, DIM, generator=draw)
    return middles[identity] + torch.randn(n, DIM, generator=draw), identity


def one(side: Side, z: Tensor, identity: Tensor) -> None:
    """Loss and gradient."""
    side(leaf := z.clone().requires_grad_(), identity).backward()
    assert leaf.grad is not None


def listed(n: int, k: int) -> int:
    """How many triplets there are."""
    return n * (k - 1) * (n - k)


def seconds(n: int, k: int, sides: dict[str, Side], rounds: int, clock: str) -> dict[str, Any]:
    """Of each side in each round, by turns, after one that is not counted."""
    now, (z, identity) = CLOCKS[clock], batch(n, k)
    found: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name, side in sides.items():
            begun = now()
            one(side, z, identity)
            if turn:
                found[name].append(now() - begun)
    return found


def growth(name: str, n: int, k: int, threads: int) -> float:
    """MB by which a fresh process grows in one step."""
    told = ["--grow", name, str(n), str(k), "--threads", str(threads)]
    command = [sys.executable, "-m", "benchmarks.mining", *told]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def grow(name: str, n: int, k: int) -> None:
    """Print it, for `growth`; what is loaded at the first call is loaded before."""
    one(SIDES[name], *batch(16, 2))
    z, identity = batch(n, k)
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak begins anew
    before = _peak()
    one(SIDES[name], z, identity)
    print(_peak() - before)


def _peak() -> float:
    """The most memory that this process has had, MB; `getrusage` would count its parent's too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def compare(n: int, k: int, options: argparse.Namespace) -> dict[str, Any]:
    """Medians, extremes and memory of both sides; printed too."""
    fits = listed(n, k) <= options.most
    sides = {name: side for name, side in SIDES.items() if fits or name == "selfwise"}
    rounds = options.rounds if n < 4096 else min(options.rounds, 3)
    found = seconds(n, k, sides, rounds, options.clock)
    record: dict[str, Any] = {}
    for name, times in found.items():
        ms = [1000 * value for value in (median(times), min(times), max(times))]
        mb = growth(name, n, k, options.threads)
        record[name] = {"ms": [round(value, 2) for value in ms], "mb": round(mb, 1)}
        cells = f"{ms[0]:10.2f} ms ({ms[1]:.2f} to {ms[2]:.2f})  {mb:8.1f} MB"
        print(f"n {n:5d}  K {k:3d}  {name:24s}{cells}", flush=True)
    if fits:
        times = zip(*found.values(), strict=True)
        ratios = [theirs / ours for theirs, ours in times]
        record["ratio"] = [round(value, 1) for value in (median(ratios), min(ratios), max(ratios))]
        print(" " * 14, "{:.1f} times as fast ({:.1f} to {:.1f})".format(*record["ratio"]))
    else:
        record["left_out"] = f"pytorch-metric-learning: {listed(n, k):,} triplets in a list"
        print(" " * 14, record["left_out"])
    return record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7, help="turns of each side; 3 at n = 4096")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--most", type=int, default=60_000_000, help="triplets in a list")
    parser.add_argument("--grow", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.grow:
        grow(options.grow[0], *map(int, options.grow[1:]))
        return
    cases = {f"{n} {k}": compare(n, k, options) for n, k in CASES}
    record = {"benchmark": "mining", "dim": DIM, "cases": cases}
    told = {"threads": options.threads, "rounds": options.rounds, "clock": options.clock}
    write(record | circumstances("pytorch-metric-learning", **told))


if __name__ == "__main__":
    main()
