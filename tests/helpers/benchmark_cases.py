"""A record of a comparison, as results.jsonl has them."""

from typing import Any

from benchmarks.row import Contest


def record(ratio: float, *, quick: bool = False, device: str = "cpu") -> dict[str, Any]:
    contest = {**Contest("selfwise", "peer", 2.0)._asdict(), "ratio": [ratio, ratio - 0.1, ratio]}
    return {
        "benchmark": "comparison", "row": "mining", "case": "2", "device": device, "quick": quick,
        "unit": "batches", "rates": {"selfwise": [300.0, 290.0, 310.0], "peer": [0.5, 0.4, 0.6]},
        "contests": [contest], "left_out": [], "equal": "losses agree", "threads": 2,
        "clock": "wall", "rounds": 5, "vectors": "AVX2",
        "cpu": "a CPU", "torch": "2.14", "commit": "abc", "date": "2026-01-01",
    }  # fmt: skip
