"""Several processes are one run: the same losses and weights, one writer, and one end."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import selfwise
from selfwise import methods
from selfwise.cli import main as cli
from selfwise.core.rng import Rng, generator
from selfwise.core.types import Term, shard_slice, slice_batch
from selfwise.distributed import process_group as worlds
from selfwise.distributed.process_group import SINGLE_PROCESS, DistributedEnv, detect_env
from selfwise.distributed.sharding import ShardedBatches
from selfwise.distributed.sync_batchnorm import CpuSyncBatchNorm
from selfwise.distributed.worker_processes import launch_workers
from selfwise.training.step import add_terms
from tests.helpers import cases, process_cases
from tests.helpers.command_lines import replace_options
from tests.helpers.process_cases import CHECKS, LONG, PLAINLY, SHORT, STEPS

SCRIPT = Path(process_cases.__file__)
TIES = ("contrastive_top1", "active_triplets")  # shares of near ties
DRIFT = ("positive_distance", "negative_distance")  # together, so that the loss does not see it


@pytest.fixture(scope="module")
def pair(request, tmp_path_factory):
    """A folder of what two processes do together of all that the chosen tests ask for."""
    chosen = [item for item in request.session.items if item.path == Path(request.path)]
    asked = [item.callspec.params for item in chosen if hasattr(item, "callspec")]
    names = list(dict.fromkeys(told["case"] for told in asked if "case" in told))
    out = tmp_path_factory.mktemp("pair")
    command = [sys.executable, str(SCRIPT), str(out), *names]
    with launch_workers(
        command, 2, device_type="cpu", threads=1, resume_hint="nothing to go on with"
    ) as env:
        process_cases.do(names, out, env)
    return out


def both(pair: Path, case: str) -> list[dict[str, Tensor]]:
    """What each of the two found."""
    return [load_file(pair / case / f"process {rank}.safetensors") for rank in range(2)]


def alone(case: str, out: Path) -> dict[str, Tensor]:
    """What one process finds."""
    return CHECKS[case](out, SINGLE_PROCESS) if case in CHECKS else process_cases.train(case, out)


def logged(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


# two processes are one


@pytest.mark.slow  # several processes
@pytest.mark.parametrize("case", LONG)
def test_twenty_steps_of_two_processes_are_those_of_one(case, pair, tmp_path):
    before = {n: w.clone() for n, w in process_cases.build(case).state_dict().items()}
    weights, (first, second) = alone(case, tmp_path), both(pair, case)
    assert max(float((weights[n] - before[n]).abs().max()) for n in weights) > 0.005
    for name, weight in weights.items():
        torch.testing.assert_close(first[name], weight, rtol=0, atol=1e-5, msg=name)
        assert torch.equal(first[name], second[name]), name
    ours, theirs = logged(tmp_path), logged(pair / case)
    assert len(ours) == len(theirs) == STEPS
    for one, two in zip(ours, theirs):
        assert one.keys() == two.keys()
        for name in one:
            near = 0.1 if name in TIES else 1e-4 if name in DRIFT else 1e-5
            relative = 0.0
            if name == "grad_norm":  # may be far above 1, and doubles a rounding error each step
                relative = 1e-5 if one["step"] <= 5 else 1e-4
            expected = pytest.approx(one[name], rel=relative, abs=near)
            assert two[name] == expected, (one["step"], name)


@pytest.mark.slow  # several processes
@pytest.mark.parametrize("case", SHORT)
def test_two_steps_of_every_other_method(case, pair, tmp_path):
    weights, (first, second) = alone(case, tmp_path), both(pair, case)
    assert first.keys() == second.keys() == weights.keys()
    for name, weight in weights.items():
        assert torch.isfinite(first[name]).all(), name
        assert torch.equal(first[name], second[name]), name
        near = 1e-5 if case in PLAINLY else 1e-3 * max(1.0, float(weight.abs().max()))
        torch.testing.assert_close(first[name], weight, rtol=0, atol=near, msg=name)
    ours, theirs = logged(tmp_path), logged(pair / case)
    for one, two in zip(ours, theirs, strict=True):
        # batch norm of the batch of both processes too
        norms = [line.pop("grad_norm") for line in (one, two)]
        assert two == pytest.approx(one, rel=1e-5, abs=1e-5)
        # the gradients of the second step are those of weights that differ as far as above
        near = 1e-5 if case in PLAINLY or one["step"] == 1 else 1e-3
        assert norms[1] == pytest.approx(norms[0], rel=near)


@pytest.mark.slow  # several processes
@pytest.mark.parametrize("case", ["dropping"])
def test_layers_are_left_out_by_all_alike(case, pair):
    first, second = both(pair, case)
    for name in first:
        assert torch.isfinite(first[name]).all(), name
        assert torch.equal(first[name], second[name]), name


def test_every_method_on_disk_is_among_the_cases():
    assert {case.partition(",")[0] for case in (*LONG, *SHORT)} == set(methods.method_names())


@pytest.mark.parametrize(("name", "term"), [("bert", "mlm_loss"), ("hubert", "masked_loss")])
def test_the_two_mask_different_numbers(name, term):
    method = cases.build(name)
    whole = process_cases.Again(type(method))[2]
    counts = []
    for rank in range(2):
        mine = shard_slice(len(whole[0]), rank, 2)
        view = method.view(
            slice_batch(whole, mine), Rng(generator(0, "view", 2), mine, len(whole[0]), seed=0)
        )
        counts.append(float(method.counts(view)[term]))
    assert counts[0] != counts[1]


def test_fewer_rows_than_processes():
    """A process without a row of its own goes along with the first one, which counts once."""
    whole = process_cases.Again(methods.find_method("hubert"))
    parts = [
        ShardedBatches(whole, DistributedEnv(rank, 6))[0] for rank in range(6)
    ]  # of 5 recordings
    assert [part.weight for part in parts] == [1, 1, 1, 1, 1, 0]
    assert [part.first for part in parts] == [0, 1, 2, 3, 4, 0]
    terms = add_terms([{"loss": Term(torch.tensor(3.0), torch.tensor(2.0))}], parts[5].weight)
    assert (float(terms["loss"].sum), float(terms["loss"].count)) == (0, 0)


@pytest.mark.slow  # several processes
@pytest.mark.parametrize("case", ["gathering"])
def test_gathered_rows_carry_the_gradients_of_all(case, pair):
    x, found = torch.arange(18.0).view(6, 3), both(pair, case)
    for rank, one in enumerate(found):
        assert torch.equal(one["rows"], x)
        # one process weighs row i by i, the other by 2 i
        own = 3.0 * torch.arange(6.0)[shard_slice(6, rank, 2)]
        assert torch.equal(one["gradient"], own[:, None].expand(3, 3))


@pytest.mark.slow  # several processes
@pytest.mark.parametrize("case", ["contrasting"])
def test_nt_xent_has_the_negatives_of_both_in_float64(case, pair, tmp_path):
    whole, found = alone(case, tmp_path), both(pair, case)
    torch.testing.assert_close(sum(one["loss"] for one in found), whole["loss"])
    for name in "ab":
        gradient = torch.cat([one[name] for one in found])
        torch.testing.assert_close(gradient, whole[name], rtol=0, atol=1e-12)


@pytest.mark.slow  # several processes
@pytest.mark.parametrize("case", ["normalising"])
def test_batch_norm_is_over_the_rows_of_both_in_float64(case, pair, tmp_path):
    whole, found = alone(case, tmp_path), both(pair, case)
    for name, tensor in whole.items():
        parts = [one[name] for one in found]
        if name.startswith(("x", "y")):
            assert [len(part) for part in parts] == [3, 2]
            torch.testing.assert_close(torch.cat(parts), tensor, rtol=0, atol=1e-10, msg=name)
        elif name in ("weight", "bias"):  # added by the step
            torch.testing.assert_close(sum(parts), tensor, rtol=0, atol=1e-10, msg=name)
        else:
            for part in parts:
                torch.testing.assert_close(part, tensor, rtol=0, atol=1e-12, msg=name)


@pytest.mark.parametrize("shape", [(7, 5), (7, 5, 6), (7, 5, 6, 4)])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
def test_batch_norm_of_one_process_is_that_of_torch(shape, affine, dtype, near):
    kind = torch.nn.BatchNorm2d if len(shape) == 4 else torch.nn.BatchNorm1d
    norms = [kind(5, affine=affine), CpuSyncBatchNorm(kind(5, affine=affine))]
    drawn = torch.randn(2, *shape, generator=generator(0, "norm"))
    found = []
    for norm in norms:
        x = (2 * drawn[0] + 3).to(dtype).requires_grad_()
        y = norm(x)
        y.backward(drawn[1].to(dtype))
        assert y.dtype == dtype
        found.append([y, x.grad, *(w.grad for w in norm.parameters()), *norm.buffers()])
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(two, one, rtol=0, atol=near)


@pytest.mark.slow  # several processes
@pytest.mark.parametrize("case", ["agreeing"])
def test_counts_are_added_and_checkpoints_compared(case, pair):
    for one in both(pair, case):
        assert (float(one["a"]), float(one["b"])) == (5.0, 10.0)
        said = bytes(one["said"].tolist()).decode()
        assert "checkpoints of the steps 7, 8" in said
        assert "must see one folder" in said


@pytest.mark.slow  # several processes
@pytest.mark.parametrize("case", ["stopping"])
def test_all_stop_after_the_step_in_which_one_is_told_to(case, pair):
    run = pair / case / "run"
    for one in both(pair, case):
        said = bytes(one["said"].tolist()).decode()
        assert said == f"stopped after step 7 and saved; resume with: selfwise resume {run}"
        assert float(one["away"]) == 0
    assert [line["step"] for line in logged(run)] == list(range(1, STEPS + 1))
    assert (run / "metrics.jsonl").read_bytes() == (run / "../whole/metrics.jsonl").read_bytes()


@pytest.mark.slow  # several processes
@pytest.mark.parametrize("case", ["measuring"])
def test_the_first_process_measures_while_the_others_wait(case, pair):
    assert [float(one["seconds"]) > 0 for one in both(pair, case)] == [True, False]


@pytest.mark.slow  # several processes
@pytest.mark.parametrize("case", ["embedding"])
def test_features_of_two_processes_are_those_of_one_to_the_bit(case, pair, tmp_path):
    whole, (first, second) = alone(case, tmp_path), both(pair, case)
    assert len(whole["images read"]) == 75
    for name, features in whole.items():
        assert torch.equal(first[name], features), name
        assert second[name].numel() == 0, name
    assert len(list((pair / case / "features").iterdir())) == 4


# starting them: by --devices, torchrun, SLURM

TINY = ["--encoder", "resnet18", "--encoder.layers", "[1,1,1,1]", "--encoder.channels", "[4,4,8,8]"]
TINY += ["--batch-size", "32", "--cpu-threads", "1", "--precision", "float32", "--quiet"]
DIGITS = ["pretrain", "simclr", "--data", "digits:train", *TINY, "--seed", "3", "--steps", "240"]
DIGITS += ["--save-every", "40", "--log-every", "5", "--monitor-every", "90"]
BOARD = ["--logger", "tensorboard"]
LAST = "checkpoints/step-00000240"


def start(*arguments: str, log: Path, launcher: tuple[str, ...] = (), **told: str):
    """A command line of selfwise in a session of its own."""
    command = [sys.executable, *launcher, "-m", "selfwise", *map(str, arguments)]
    with log.open("w") as file:
        return subprocess.Popen(
            command, stderr=file, stdout=file, env={**os.environ, **told}, start_new_session=True
        )


def port() -> str:
    store = torch.distributed.TCPStore("127.0.0.1", 0, 1, True)
    return str(store.port)


def slurm(*arguments: str, log: Path) -> list[subprocess.Popen]:
    """Two tasks on two nodes, as srun starts them."""
    told = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NUM_NODES": "2", "SLURM_NTASKS": "2"}
    told |= {"SLURM_NTASKS_PER_NODE": "1", "SLURM_LOCALID": "0", "SLURM_NODELIST": "127.0.0.1"}
    told |= {"SLURM_JOB_ID": "123456", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port()}
    logs = [log.with_suffix(f".{rank}") for rank in range(2)]
    return [
        start(*arguments, log=logs[rank], **told, SLURM_PROCID=str(rank), SLURM_NODEID=str(rank))
        for rank in range(2)
    ]


def torchrun(*arguments: str, log: Path) -> list[subprocess.Popen]:
    """Two nodes with a process each, as torchrun starts them."""
    told = ["-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
    told += ["--master-addr", "127.0.0.1", "--master-port", port()]
    return [
        start(*arguments, log=log.with_suffix(f".{n}"), launcher=(*told, "--node-rank", str(n)))
        for n in range(2)
    ]


def ended(processes: list[subprocess.Popen], seconds: float = 240.0) -> list[int]:
    """Their exit codes."""
    until = time.monotonic() + seconds
    try:
        return [process.wait(max(0.1, until - time.monotonic())) for process in processes]
    finally:
        for process in processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def there(process: subprocess.Popen) -> list[int]:
    """The processes of the session of one that `start` has started, the oldest first."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            state, _, _, session, *rest = stat.read_text().rpartition(")")[2].split()
            if int(session) == process.pid and state != "Z":
                found.append((int(rest[15]), int(stat.parent.name)))
    return [number for _, number in sorted(found)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run of two processes that nobody stopped; SLURM has started them."""
    out = tmp_path_factory.mktemp("whole") / "run"
    aloud = [word for word in DIGITS if word != "--quiet"]
    assert ended(slurm(*aloud, *BOARD, "--out", out, log=out.with_suffix(".log"))) == [0, 0]
    return out


def lines(run: Path) -> int:
    path = run / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def at(step: int, run: Path, process: subprocess.Popen) -> None:
    """When so many steps are logged."""
    until = time.monotonic() + 240
    while lines(run) * 5 < step:
        if process.poll() is not None or time.monotonic() > until:
            ended([process], 0)
            pytest.fail(f"the run does not get to step {step}")
        time.sleep(0.005)


def said(log: Path) -> str:
    """What a run has said; not that somebody has committed meanwhile."""
    found = log.read_text().splitlines(keepends=True)
    return "".join(line for line in found if not line.startswith("warning: commit is"))


def emptied(process: subprocess.Popen) -> float:
    """Seconds until nothing is left of what was started; at most a minute."""
    begun = time.monotonic()
    process.wait(60)
    while there(process):
        assert time.monotonic() < begun + 60, there(process)
        time.sleep(0.05)
    return time.monotonic() - begun


@pytest.mark.slow  # several processes
def test_a_run_that_lost_its_processes_and_went_on_is_the_whole_run(whole, tmp_path):
    run, log = tmp_path / "run", tmp_path / "log"
    process = start(*DIGITS, "--devices", "2", "--out", run, log=log)
    at(45, run, process)
    own, other = there(process)
    assert own == process.pid
    os.kill(other, signal.SIGKILL)
    emptied(process)
    again = f"resume with: selfwise resume {run}\n"
    died = f"selfwise: process 2 of 2 was killed by signal 9 (SIGKILL); {again}"
    assert (process.returncode, said(log)) == (2, died)

    process = start("resume", run, "--quiet", log=log)
    at(95, run, process)
    os.kill(process.pid, signal.SIGKILL)
    emptied(process)
    assert said(log) == f"selfwise: process 1 of 2 is gone, so the others end; {again}"

    assert ended(torchrun("resume", run, "--quiet", log=log)) == [0, 0]
    for name in ("metrics.jsonl", f"{LAST}/model.safetensors"):
        assert (run / name).read_bytes() == (whole / name).read_bytes(), name
    one, two = (torch.load(r / LAST / "optimizer.pt", weights_only=True) for r in (run, whole))
    assert str(one) == str(two)


@pytest.mark.slow  # several processes, started nine times
def test_a_run_under_torchrun_goes_on_after_each_kill(whole, tmp_path):
    run, log = tmp_path / "run", tmp_path / "log"
    for number, step in enumerate(range(45, 225, 22)):
        command = ["resume", run, "--quiet"] if run.exists() else [*DIGITS, *BOARD, "--out", run]
        nodes = torchrun(*command, log=log)
        at(step, run, nodes[0])
        agent, worker, *_ = there(nodes[number % 2])
        os.kill((agent, worker)[number // 2 % 2], signal.SIGKILL)
        for node in nodes:
            emptied(node)
    assert ended(torchrun("resume", run, "--quiet", log=log)) == [0, 0]
    for name in ("metrics.jsonl", f"{LAST}/model.safetensors"):
        assert (run / name).read_bytes() == (whole / name).read_bytes(), name


@pytest.mark.slow  # several processes
def test_one_process_writes_and_probes(whole):
    assert {path.name for path in whole.iterdir()} == {
        *(".lock", "run.yaml", "metrics.jsonl", "timing.jsonl", "tensorboard", "checkpoints")
    }
    assert len(list((whole / "tensorboard").iterdir())) == 1
    assert [line["step"] for line in logged(whole)] == list(range(5, 241, 5))
    assert [line["step"] for line in logged(whole) if "uniformity" in line] == [90, 180, 240]
    first, second = (whole.with_suffix(f".{rank}").read_text() for rank in range(2))
    assert second == ""
    assert first.count("selfwise pretrain simclr\n") == 1  # the words before the first step
    assert first.endswith(
        f"Finished {whole}. Next: selfwise probe {whole}, selfwise embed {whole} or "
        f"selfwise report {whole}\n"
    )


@pytest.mark.slow  # several processes
def test_vectors_of_two_processes_are_those_of_one(whole, tmp_path, capsys):
    files = [tmp_path / f"{devices}.npz" for devices in (1, 2)]
    for devices, file in zip("12", files):
        told = ["--data", "digits:test", "--out", str(file), "--devices", devices]
        assert cli.main(["embed", str(whole), *told]) == 0
        assert (
            capsys.readouterr().out
            == f"Wrote 500 vectors of width 8, computed in float32, to {file}\n"
        )
        for kept in (whole / "features").iterdir():
            kept.unlink()  # or else the second would read what the first has computed
    one, two = (np.load(file) for file in files)
    for name in one:
        assert np.array_equal(one[name], two[name]), name


# an end that says why


def die(command: list[str], work=lambda env: None) -> str:
    begun = time.monotonic()
    with pytest.raises(ChildProcessError) as caught:  # noqa: SIM117
        with launch_workers(
            command, 2, device_type="cpu", threads=1, resume_hint="go on so"
        ) as env:
            work(env)
    assert time.monotonic() - begun < 60
    assert not torch.distributed.is_initialized()
    return str(caught.value)


@pytest.mark.slow  # several processes
def test_one_that_is_killed_is_named(tmp_path):
    command = [sys.executable, str(SCRIPT), str(tmp_path), "dying"]
    said = die(command, lambda env: process_cases.do(["dying"], tmp_path, env))
    assert said == "process 2 of 2 was killed by signal 9 (SIGKILL); go on so"


@pytest.mark.slow  # several processes
def test_one_that_does_not_start_is_named():
    said = die([sys.executable, "-c", "raise SystemExit(3)"])
    assert said == "process 2 of 2 ended with exit code 3; go on so"


# who started whom


SLURM = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NUM_NODES": "2", "SLURM_NTASKS": "4"}
SLURM |= {"SLURM_NTASKS_PER_NODE": "2", "SLURM_PROCID": "3", "SLURM_LOCALID": "1"}
SLURM |= {"SLURM_NODEID": "1", "SLURM_NODELIST": "node[05-07,9]", "SLURM_JOB_ID": "31234"}
TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}
TORCHRUN |= {"LOCAL_WORLD_SIZE": "4", "GROUP_RANK": "1"}


@pytest.fixture(autouse=True)
def environment():
    """As it was, afterwards."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def tasks(monkeypatch):
    """A function that makes this process one that was started so."""

    def be(told: dict[str, str], **more: str) -> None:
        for name, value in (told | more).items():
            monkeypatch.setenv(name, value)

    return be


def test_what_slurm_and_torchrun_say(tasks, monkeypatch):
    assert detect_env() is None
    tasks(SLURM)
    assert detect_env() == DistributedEnv(rank=3, size=4, local_rank=1, local_size=2)
    assert worlds.count_local_processes(1) == 2
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    monkeypatch.delenv("MASTER_PORT", raising=False)
    assert worlds.find_slurm_address() == ("node05", 15_000 + 1234)
    for nodes, first in (("a1,a2", "a1"), ("n[3,5]", "n3"), ("n[12]", "n12"), ("x y", "x")):
        tasks(SLURM, SLURM_NODELIST=nodes)
        assert worlds.find_slurm_address()[0] == first
    tasks(SLURM, MASTER_ADDR="head", MASTER_PORT="99")
    assert worlds.find_slurm_address() == ("head", 99)
    tasks(TORCHRUN)  # as where srun starts torchrun, once on each node
    assert detect_env() == DistributedEnv(rank=5, size=8, local_rank=1, local_size=4)


def test_a_job_without_srun_is_one_process(tasks, monkeypatch):
    tasks(SLURM)
    monkeypatch.delenv("SLURM_STEP_NUM_TASKS")
    assert detect_env() is None
    assert worlds.count_processes(None) == 1
    assert worlds.count_processes(3) == 3


@pytest.mark.parametrize(("gpus", "number"), [(4, 2), (1, 0)])
def test_each_process_has_a_gpu_of_its_own(gpus, number, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert worlds.process_device(DistributedEnv(6, 8, 2, 4), "cuda") == torch.device("cuda", number)
    assert worlds.process_device(DistributedEnv(6, 8, 2, 4), "cpu") == torch.device("cpu")


# mistakes


@pytest.fixture
def refusal(tmp_path, capsys):
    """A function that runs a command line which is refused: its sentence."""

    def call(*arguments: str | Path) -> str:
        assert cli.main([str(word) for word in arguments]) == 2
        said = capsys.readouterr().err.splitlines()
        assert len(said) == 1, said
        assert not (tmp_path / "run").exists()
        return said[0]

    return call


EQUALLY = "each process computes an equal number of examples"
BATCHES = [
    (
        "simclr --batch-size 33",
        f"--devices 2 does not divide --batch-size 33: {EQUALLY}; 32 would be right",
    ),
    (
        "supervised --batch-size 34 --grad-accum-steps 3",
        "--devices 2 times --grad-accum-steps 3 does not divide --batch-size 34: "
        f"{EQUALLY}; 36 would be right",
    ),
    (
        "simclr --device cuda:1",
        "--device cuda:1 is a single device, but --devices 2 needs several: give --device cuda",
    ),
]


@pytest.mark.parametrize(("words", "sentence"), BATCHES)
def test_a_batch_that_does_not_divide(words, sentence, refusal, tmp_path):
    told = ["--data", "digits:train", "--steps", "2", "--devices", "2", "--out", tmp_path / "run"]
    assert refusal("pretrain", *words.split(), *told) == f"selfwise: {sentence}"


def test_the_batch_of_the_paper_does_not_divide(refusal, tmp_path):
    told = ["--data", "digits:train", "--steps", "2", "--devices", "3", "--out", tmp_path / "run"]
    assert "--devices 3 does not divide --batch-size" in refusal("pretrain", "simclr", *told)
    assert "--devices must be at least 1" in refusal(
        "pretrain", "simclr", *replace_options(told, "--devices", "0")
    )


@pytest.mark.slow  # several processes
def test_numbers_of_processes_that_no_machine_has(refusal, whole, tmp_path):
    told = ["--data", "digits:train", "--steps", "2", "--out", tmp_path / "run"]
    many = 4 * os.cpu_count() + 1
    said = refusal("pretrain", "simclr", *told, "--devices", many, "--batch-size", 2 * many)
    assert f"--devices {many} is more than {many - 1}" in said
    told = ["--data", "digits:test", "--out", tmp_path / "x.npz"]
    assert "--devices must be at least 1, not -1" in refusal("embed", whole, *told, "--devices=-1")


def test_data_that_only_this_process_has(tmp_path):
    with pytest.raises(ValueError, match="starts processes that open the data themselves"):
        selfwise.pretrain(
            "simclr", data=np.zeros((8, 3, 8, 8), np.uint8), out=tmp_path / "run", devices=2
        )


@pytest.mark.slow  # several processes
def test_other_numbers_than_were_started(tasks, refusal, whole, tmp_path):
    tasks(SLURM, SLURM_PROCID="0", MASTER_ADDR="127.0.0.1", MASTER_PORT=port())
    told = ["--data", "digits:train", "--steps", "2", "--out", tmp_path / "run"]
    said = refusal("pretrain", "simclr", *told, "--devices", "3")
    assert "--devices 3 does not fit the 4 processes that were started" in said
    assert "is a run of 2 processes and 4 were started" in refusal("resume", whole)


@pytest.mark.slow  # several processes
def test_tasks_of_slurm_do_not_wait_for_one_that_was_refused(tmp_path):
    log = tmp_path / "log"
    unequal = replace_options(DIGITS, "--batch-size", "33")
    codes = ended(slurm(*unequal, "--out", tmp_path / "run", log=log), 60.0)
    assert codes == [2, 2]
    assert "--devices 2 does not divide --batch-size 33" in log.with_suffix(".0").read_text()
    gone = "selfwise: another process of the run ended; it was the first "
    gone += "process, before training began"
    assert gone in log.with_suffix(".1").read_text()


def test_tasks_that_slurm_has_not_shared_out(tasks, refusal, monkeypatch, tmp_path):
    tasks(SLURM)
    monkeypatch.delenv("SLURM_NTASKS_PER_NODE")
    told = ["--data", "digits:train", "--steps", "2", "--out", tmp_path / "run"]
    assert "give --ntasks-per-node instead of --ntasks" in refusal("pretrain", "simclr", *told)


def test_what_one_process_does_alone(tasks, refusal):
    tasks(TORCHRUN)
    said = refusal("probe", "run", "--train", "digits:train", "--test", "digits:test")
    assert said.startswith("selfwise: selfwise probe runs in one process, and 8 were")
    assert "torchrun and srun are for embed, iterate, pretrain, resume" in said


def test_a_machine_that_does_not_see_the_run(tasks, refusal, monkeypatch, tmp_path):
    tasks(SLURM)
    monkeypatch.setattr("selfwise.runs.processes.join_process_group", lambda *told: None)
    monkeypatch.setattr("selfwise.runs.processes.FOLDER_TIMEOUT", 0.0)
    told = ["--data", "digits:train", "--steps", "2", "--out", tmp_path / "run"]
    said = refusal("pretrain", "simclr", *told)
    assert f"{tmp_path / 'run'} is not a run on" in said
    assert "all machines of a run must see one folder" in said
