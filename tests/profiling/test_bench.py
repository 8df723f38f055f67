"""`selfwise bench`: what it counts, what it measures, what it advises, and that nothing stays."""

import json
import os
import tempfile
from dataclasses import asdict
from pathlib import Path
from time import sleep

import pytest
import torch
from torch import nn

from selfwise.cli import main as cli
from selfwise.core.types import AudioBatch, ImageBatch, Labelled, TextBatch
from selfwise.distributed.sharding import LocalBatch
from selfwise.methods.simclr import SimCLR
from selfwise.methods.supervised import Supervised
from selfwise.profiling import flops as rate
from selfwise.profiling import step_timer
from selfwise.profiling.advice import (
    OptionTrial,
    StepProfile,
    TrialOutcome,
    describe_failed_trials,
    propose_trials,
    write_advice,
)
from selfwise.runs.create import pretrain
from selfwise.runs.environment import find_commit
from selfwise.runs.run_yaml import read_record
from selfwise.training.config import TrainingConfig, resolve_training
from selfwise.training.step import build_state
from selfwise.workflows import bench
from tests.helpers import cases, unit_cases
from tests.helpers.report_cases import TINY, photos, sentences

PLAIN = {"waiting": 0.02, "utilisation": 0.6, "device": "cpu", "precision": "float32"}
PLAIN |= {
    "compile": False,
    "cpu_threads": 2,
    "num_workers": 0,
    "cores": 2,
    "batch_size": 64,
    "examples": 1000,
}
GPU = {"device": "cuda", "precision": "bf16", "utilisation": 0.2, "memory": 0.1, "cores": 16}


def numbers(**given) -> StepProfile:
    return StepProfile(**{**PLAIN, **given})


def options_of(**given) -> list[dict]:
    return [trial.options for trial in propose_trials(numbers(**given))]


def test_where_nothing_is_wrong_there_is_nothing_to_change():
    assert propose_trials(numbers()) == []
    assert write_advice(numbers(), []) == ["nothing to change"]


def test_more_workers_where_they_are_waited_for():
    assert options_of(waiting=0.1) == []
    # reading takes three times as long as computing; 3 of the 6 idle cores keep up with it
    assert options_of(waiting=0.75, cores=8) == [{"num_workers": 3}]
    assert options_of(waiting=0.75, cores=4) == [{"num_workers": 2}]
    assert options_of(waiting=0.5, cores=16, num_workers=4) == [{"num_workers": 8}]
    (trial,) = propose_trials(numbers(waiting=0.4, cores=3))
    assert trial.reason == "40 % of the time is spent waiting for data, and 1 core is idle"


def test_a_thread_reads_where_no_core_is_idle():
    assert options_of(waiting=0.4) == [{"num_workers": 1, "cpu_threads": 1}]
    assert options_of(waiting=0.4, cpu_threads=1, cores=1) == []
    (said,) = write_advice(numbers(waiting=0.4, cpu_threads=1, cores=1), [])
    assert said.startswith("40 % of the time is spent waiting for data, and no core is left")


def test_beside_a_gpu_threads_are_idle():
    told = {**GPU, "waiting": 0.5, "cpu_threads": 16, "num_workers": 8, "utilisation": 0.9}
    assert options_of(**told) == [{"num_workers": 15}]
    (said,) = write_advice(numbers(**{**told, "num_workers": 15}), [])
    assert "no core is left" in said


def test_readers_and_threads_have_no_more_than_the_cores():
    assert options_of(cpu_threads=4, num_workers=4, cores=8) == []
    assert options_of(cpu_threads=8, num_workers=4, cores=8) == [
        {"num_workers": 4, "cpu_threads": 4}
    ]
    assert options_of(cpu_threads=2, num_workers=2) == [{"num_workers": 1, "cpu_threads": 1}]
    assert options_of(cpu_threads=1, num_workers=3, waiting=0.3) == [
        {"num_workers": 1, "cpu_threads": 1}
    ]
    assert options_of(cpu_threads=1, num_workers=1, cores=1) == [
        {"num_workers": 0, "cpu_threads": 1}
    ]
    (trial,) = propose_trials(numbers(cpu_threads=2, num_workers=1))
    assert trial.reason == "2 threads and 1 worker share 2 cores"


def test_bf16_where_it_multiplies_faster():
    assert options_of(bf16=1.3) == []
    assert options_of(bf16=1.31) == [{"precision": "bf16"}]
    assert options_of(bf16=8.0, precision="bf16") == []


def test_a_gpu_that_has_time_and_room_takes_a_larger_batch():
    assert options_of(**GPU) == [{"batch_size": 128}]
    assert options_of(**GPU | {"memory": 0.4}) == []
    assert options_of(**GPU | {"utilisation": 0.5}) == []
    assert options_of(**GPU | {"examples": 127}) == []
    assert options_of(**GPU | {"device": "cpu"}) == []
    (trial,) = propose_trials(numbers(**GPU, couples="all images are compared"))
    assert "this changes the loss, since all images are compared" in trial.reason
    assert options_of(**GPU | {"budget": "--batch-seconds"}) == []
    assert any(
        "a larger --batch-seconds" in s
        for s in write_advice(numbers(**GPU, budget="--batch-seconds"), [])
    )


def test_compiling_is_named_where_it_could_help_and_not_tried():
    assert any(said.startswith("--compile: not tried") for said in write_advice(numbers(**GPU), []))
    for other in ({"compile": True}, {"utilisation": 0.6}, {"device": "cpu"}):
        assert not any("--compile" in s for s in write_advice(numbers(**{**GPU, **other}), []))


def test_only_what_was_faster_is_advised():
    faster = TrialOutcome(OptionTrial("a core is idle", {"num_workers": 3}), 1.25)
    slower = TrialOutcome(OptionTrial("it multiplies faster", {"precision": "bf16"}), 1.04)
    said = ["--num-workers 3: 1.25 times as many examples per second (a core is idle)"]
    assert write_advice(numbers(), [slower, faster]) == said
    vain = (
        "--precision bf16: 1.04 times as many examples per second: leave it (it multiplies faster)"
    )
    assert describe_failed_trials([slower, faster]) == [vain]
    assert write_advice(numbers(), [slower]) == ["nothing to change"]


def counted(module, x) -> tuple[int, int]:
    """Operations forward, and backward with the gradient of x."""
    x.requires_grad_()
    with rate.build_flop_counter() as forward:
        y = module(x)
    with rate.build_flop_counter() as backward:
        y.sum().backward()
    return forward.get_total_flops(), backward.get_total_flops()


def test_a_linear_layer_is_counted():
    n = 2 * 6 * 10 * 7
    assert counted(nn.Linear(10, 7), torch.randn(6, 10)) == (n, 2 * n)


@pytest.mark.parametrize("groups", [1, 4])
def test_a_convolution_is_counted(groups):
    layer, n = nn.Conv1d(8, 12, 5, groups=groups), 2 * 3 * 16 * 12 * (8 // groups) * 5
    assert counted(layer, torch.randn(3, 8, 20)) == (n, 2 * n)
    back, n = nn.ConvTranspose1d(8, 12, 5, groups=groups), 2 * 3 * 20 * 8 * (12 // groups) * 5
    assert counted(back, torch.randn(3, 8, 20)) == (n, 2 * n)


def test_the_gradient_of_pixels_is_counted_only_where_it_is_wanted():
    layer, x = nn.Conv2d(3, 5, 3), torch.randn(2, 3, 8, 8)
    with rate.build_flop_counter() as found:
        layer(x).sum().backward()
    assert found.get_total_flops() == 2 * (2 * 2 * 6 * 6 * 5 * 3 * 9)


def test_attention_on_the_cpu_is_counted():
    def attend(x):
        q, k, v = x[..., :5, :], x[..., 5:, :], x[..., 5:, :]
        return nn.functional.scaled_dot_product_attention(q, k, v)

    n = 2 * 2 * 3 * 5 * 7 * (4 + 4)  # 5 queries, 7 keys
    assert counted(attend, torch.randn(2, 3, 12, 4)) == (n, 2 * n)


def test_sequences_behind_each_other_meet_only_themselves():
    q, k, v = (torch.randn(10, 2, 4) for _ in range(3))
    starts = torch.tensor([0, 3, 3, 10], dtype=torch.int32)
    n = 2 * (9 + 49) * 2 * (4 + 4)
    assert rate.count_packed_attention(q, k, v, starts, starts, 10, 10, out_val=None) == n
    told = (torch.randn(10, 2, 4), q, k, v, q, torch.zeros(2, 10), starts, starts, 10, 10)
    assert rate.count_packed_attention_backward(*told, out_val=None) == 2 * n


class Repeated:
    """The same batch at every step, after a while."""

    def __init__(self, kind, n=16, seconds=0.0, first=0.0):
        self.all, self.read = cases.batch(kind, n), []
        self.seconds, self.first = seconds, first

    def __getitem__(self, step):
        self.read.append(step)
        sleep(self.first if step < step_timer.WARMUP_STEPS else self.seconds)
        return self.all


class Multiplying(Supervised):
    """A product in its view, which is none of the model."""

    def view(self, batch, rng):
        assert (torch.ones(100, 100) @ torch.ones(100, 100)).sum() == 100**3
        return super().view(batch, rng)


def options(kind, **given):
    told = {"steps": 6, "batch_size": 16, "precision": "float32", "device": "cpu", "cpu_threads": 1}
    return resolve_training(TrainingConfig(**{**told, **given}), kind, num_workers=0)


def test_the_products_of_a_step_are_those_of_the_model():
    other = cases.build("supervised")
    other.__class__ = Multiplying
    told = options(Supervised)
    plain, parts = (build_state(method, told) for method in (cases.build("supervised"), other))
    found = rate.count_step_flops(plain, Repeated(Supervised), told, seed=0)
    assert rate.count_step_flops(parts, Repeated(Supervised), told, seed=0) == found
    halves = told.replace(grad_accum_steps=2)
    assert rate.count_step_flops(plain, Repeated(Supervised), halves, seed=0) == found
    mine = LocalBatch(cases.batch(Supervised, 16))
    (view,) = rate.make_views(plain, mine, 0, seed=0, options=told)
    with rate.build_flop_counter() as forward:
        plain.method(view)
    # backward costs twice as much, without the gradient of the pixels
    assert 2.5 < found / forward.get_total_flops() < 3
    assert all(p.grad is None for p in plain.method.parameters())


def test_the_best_product_counts(monkeypatch):
    times = iter([0.0, 0.5, 1.0, 1.2, 2.0, 3.0, *(10.0 * i for i in range(1, 40))])
    monkeypatch.setattr(rate, "perf_counter", lambda: next(times))
    monkeypatch.setattr(rate, "MAX_PRODUCTS", 3)
    assert rate.measure_matmul_rate("cpu", "float32", 64) == pytest.approx(2 * 64**3 / 0.2)


def test_steps_are_measured_behind_the_first_ones():
    batches, told = Repeated(Supervised, seconds=0.05, first=1.0), options(Supervised)
    made = []

    def make():
        made.append(cases.build("supervised"))
        return made[-1]

    found = step_timer.time_steps(make, batches, told, seed=0, seconds=1e-3)
    assert batches.read == list(range(step_timer.WARMUP_STEPS + step_timer.MIN_STEPS))
    assert len(made) == 1
    assert len(found.times) == step_timer.MIN_STEPS
    assert found.examples == found.amount == 16 * step_timer.MIN_STEPS
    assert 0.05 * step_timer.MIN_STEPS <= found.waited < min(found.seconds, 2.0)
    assert sum(found.times) == pytest.approx(found.seconds, rel=0.05)
    assert found.waiting == found.waited / found.seconds
    assert found.rate == found.examples / found.seconds
    assert found.step == found.seconds / step_timer.MIN_STEPS
    middle, low, high = found.spread()
    assert 0.05 < min(found.times) <= low <= middle <= high <= max(found.times)


def test_steps_go_on_for_as_long_as_was_asked():
    batches = Repeated(Supervised, seconds=0.02)
    make = lambda: cases.build("supervised")  # noqa: E731
    found = step_timer.time_steps(make, batches, options(Supervised), seed=0, seconds=3.0)
    assert found.seconds >= 3.0
    assert len(found.times) > step_timer.MIN_STEPS  # of 0.6 s at the most, on a busy machine too


def test_what_is_real_is_counted():
    index = torch.arange(3)
    images = ImageBatch(torch.zeros(3, 1, 4, 4, dtype=torch.uint8), index)
    assert step_timer.count_content(images) == (3, 3.0)
    assert step_timer.count_content(LocalBatch(Labelled(images, index))) == (3, 3.0)
    ids = torch.zeros(3, 8, dtype=torch.long)
    assert step_timer.count_content(TextBatch(ids, index)) == (3, 24.0)
    valid = torch.arange(8) < torch.tensor([8, 5, 1])[:, None]
    assert step_timer.count_content(TextBatch(ids, index, valid)) == (3, 14.0)
    sound = AudioBatch(torch.zeros(3, 16_000), index, torch.tensor([16_000, 8_000, 4_000]))
    assert step_timer.count_content(sound) == (3, 1.75)
    assert step_timer.count_content(sound._replace(extent=None)) == (3, 3.0)


def test_the_memory_is_that_of_the_process():
    much = torch.ones(2**27)  # 512 MiB
    held = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    del much
    assert held > 2**29
    assert 0.98 * held < step_timer.read_peak_memory("cpu") < 100 * held


IMAGES = {**TINY, "batch_size": 16, "image_size": 16, "cpu_threads": 1, "precision": "float32"}
TEXT = {
    "encoder": "roberta-tiny",
    "encoder_options": {"depth": 2, "dim": 32, "heads": 2},
    "batch_size": 8,
}
TEXT |= {"max_length": 32, "tokenizer": "bpe:300", "documents": "blank", "cpu_threads": 1}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An own folder, with pictures and text, and places that are looked at afterwards."""
    photos(tmp_path / "photos")
    sentences(tmp_path / "text.txt")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("SELFWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(rate, "MATRIX_SIDES", {"cpu": 64})
    monkeypatch.setattr(rate, "MAX_PRODUCTS", 2)
    # a short path, for the sockets of loader processes
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        monkeypatch.setattr(tempfile, "tempdir", temporary)
        yield tmp_path


def said(*words, capsys) -> str:
    """What the command prints; it ends well."""
    capsys.readouterr()
    assert cli.main(["bench", *(str(word) for word in words)]) == 0
    return capsys.readouterr().out


@pytest.mark.run
def test_images_are_measured_and_nothing_stays(home, capsys):
    words = ["simclr", "--data", home / "photos", *unit_cases.flags(IMAGES), "--measure", 0.3]
    before = torch.get_num_threads(), sorted(home.glob("photos/**/*"))
    text = said(*words, "--quiet", "--out", home / "speed.json", capsys=capsys)
    assert before == (torch.get_num_threads(), sorted(home.glob("photos/**/*")))
    assert not list((home / "here").iterdir())
    assert not list(Path(tempfile.gettempdir()).iterdir())
    names = {"photos", "text.txt", "here", "cache", "speed.json"}
    assert {path.name for path in home.iterdir()} <= names
    found = json.loads((home / "speed.json").read_text())
    assert found["examples_per_second"] == pytest.approx(16 * found["steps"] / found["seconds"])
    assert found["steps"] >= step_timer.MIN_STEPS
    assert 0 < found["waiting"] < 1
    flops, step = found["flops"], found["step_seconds"]
    assert step["mean"] == pytest.approx(found["seconds"] / found["steps"])
    assert found["utilisation"] == pytest.approx(flops["flops"] / step["mean"] / flops["products"])
    assert flops["side"] == 64
    assert found["environment"]["torch"] == torch.__version__.partition("+")[0]
    assert found["environment"]["commit"] == find_commit()
    assert found["environment"]["threads"] == 1
    assert found["memory"] > 2**20
    lines = text.splitlines()
    assert lines[0].startswith("simclr, resnet18; 16 images a step; float32; 1 thread, 0 workers")
    shown = {line[2:22].strip(): line[22:] for line in lines if line.startswith("  ")}
    speed = found["examples_per_second"]
    assert shown["a second"] == (f"{speed:,.0f}" if speed >= 100 else f"{speed:.3g}") + " images"
    assert shown["utilisation"] == f"{100 * found['utilisation']:.1f} % of that"
    assert shown["memory"].startswith(f"{found['memory'] / 2**20:,.0f} MiB")
    assert lines[lines.index("advice") + 1 :] == [f"  {one}" for one in found["advice"]]


def test_what_is_measured_is_what_would_be_trained(home):
    told = {**IMAGES, "temperature": 0.2, "seed": 3, "steps": 2, "lr": 0.1}
    found = bench.bench("simclr", data=home / "photos", measure=0.01, quiet=True, **told).to_dict()
    run = pretrain("simclr", data=home / "photos", out=home / "run", quiet=True, **told)
    wanted = read_record(run.folder)
    assert found["options"] == wanted.options
    assert found["found"] == wanted.info.model_dump()


@pytest.mark.run
def test_texts_and_recordings_are_measured(home, capsys):
    words = ["roberta", "--data", home / "text.txt", *unit_cases.flags(TEXT), "--measure", 0.1]
    text = said(*words, capsys=capsys)
    assert " rows, " in text
    assert " tokens\n" in text
    voices = unit_cases.voices(home / "voices")
    told = {n: v for n, v in unit_cases.SPEECH.items() if n != "quiet"}
    text = said(
        "hubert", "--data", voices, *unit_cases.flags(told), "--measure", 0.1, capsys=capsys
    )
    assert " recordings, " in text
    assert " s of sound\n" in text
    assert not list((home / "here").iterdir())


def test_what_is_advised_was_tried(home, monkeypatch):
    asked = []

    def fake(method, batches, options, *, seed, seconds):
        asked.append((options.num_workers, options.precision, seconds))
        speed = 100 + 100 * options.num_workers - 50 * (options.precision == "bf16")
        return step_timer.StepTiming(1.0, 0.5, [0.2] * 5, speed, float(speed))

    own = [OptionTrial("why", {"num_workers": 1}), OptionTrial("so", {"precision": "bf16"})]
    monkeypatch.setattr(bench, "time_steps", fake)
    monkeypatch.setattr(bench, "propose_trials", lambda numbers: own)
    found = bench.bench("simclr", data=home / "photos", measure=8.0, quiet=True, **IMAGES)
    turns = [(0, "float32", 2.0), (1, "float32", 2.0), (0, "float32", 2.0), (0, "bf16", 2.0)]
    assert asked == [(0, "float32", 8.0), *turns]
    assert [one["ratio"] for one in found.to_dict()["tried"]] == [2.0, 0.5]
    assert found.advice[0] == "--num-workers 1: 2.00 times as many examples per second (why)"
    assert "--precision bf16: 0.50 times" in found.text().partition("no faster")[2]


@pytest.mark.run
def test_a_larger_batch_is_read_from_the_data(home, monkeypatch):
    own = [OptionTrial("why", {"batch_size": 32})]
    monkeypatch.setattr(bench, "propose_trials", lambda numbers: own)
    sizes = []
    whole = bench.time_steps

    def watched(*args, **told):
        found = whole(*args, **told)
        sizes.append(found.examples / len(found.times))
        return found

    monkeypatch.setattr(bench, "time_steps", watched)
    bench.bench("simclr", data=home / "photos", measure=0.01, quiet=True, **IMAGES)
    assert sizes == [16, 16, 32]


def test_the_numbers_are_those_of_the_run(home, monkeypatch):
    seen = []
    monkeypatch.setattr(bench, "propose_trials", lambda numbers: seen.append(numbers) or [])
    monkeypatch.setattr(bench, "count_cpus", lambda: 7)
    told = {**IMAGES, "num_workers": 1, "measure": 0.01, "quiet": True}
    found = bench.bench("simclr", data=home / "photos", **told).to_dict()
    (numbers,) = seen
    assert (numbers.num_workers, numbers.cpu_threads, numbers.cores, numbers.batch_size) == (
        1,
        1,
        7,
        16,
    )
    assert numbers.examples == 36
    assert numbers.waiting == found["waiting"]
    assert numbers.couples == SimCLR.couples_batch
    flops = found["flops"]
    assert numbers.bf16 == pytest.approx(flops["products_bf16"] / flops["products"])
    assert asdict(numbers)["utilisation"] == found["utilisation"]


def refused(*words, capsys) -> str:
    """The one sentence of a command that ends with exit code 2."""
    capsys.readouterr()
    assert cli.main(["bench", *(str(word) for word in words)]) == 2
    found = capsys.readouterr()
    assert found.out == ""
    assert found.err.startswith("selfwise: ")
    assert found.err.count("\n") == 1
    return found.err


@pytest.mark.run
def test_mistakes_get_one_line(home, capsys):
    good = ["simclr", "--data", home / "photos", *unit_cases.flags(IMAGES)]
    assert "name a method first" in refused(capsys=capsys)
    assert "did you mean 'simclr'" in refused("simcrl", "--data", home / "photos", capsys=capsys)
    assert "--data must be given" in refused("simclr", capsys=capsys)
    assert "photo" in refused("simclr", "--data", home / "photo", capsys=capsys)
    assert "--measure" in refused(*good, "--mesure", 2, capsys=capsys)
    text = ["gpt", "--data", home / "text.txt", "--tokenizer", "chars", "--documents", "blank"]
    text += ["--max-length", 16, "--batch-size", 2, "--knn-every", 5]
    assert "--knn-every is for images" in refused(*text, capsys=capsys)
    for wrong in ("0", "-1", "1e9"):
        said = refused(*good, "--measure", wrong, capsys=capsys)
        assert "--measure must be above 0 and at most 3600, got " in said
    for wrong in ("long", ".nan"):
        said = refused(*good, "--measure", wrong, capsys=capsys)
        assert f"--measure must be a number, not '{wrong}'" in said
    assert "--measure must be above 0 and at most 3600, got nan" in refused(
        *good, "--measure", "nan", capsys=capsys
    )
    (home / "there.json").write_text("{}")
    assert "exists already" in refused(*good, "--out", home / "there.json", capsys=capsys)
    assert (home / "there.json").read_text() == "{}"
    assert "must end in .json" in refused(*good, "--out", home / "speed.txt", capsys=capsys)
    assert "no folder" in refused(*good, "--out", home / "no" / "speed.json", capsys=capsys)
    assert "batch 999" in refused(*good[:3], "--batch-size", 999, capsys=capsys)


def test_the_help_lists_the_options_of_a_method(capsys):
    text = said("simclr", "--help", capsys=capsys)
    assert "Measure how fast a training would run here" in text
    for flag in ("--measure", "--temperature", "--num-workers", "--encoder.NAME", "--config"):
        assert flag in text
    assert "--out PATH" in text
    assert "METHOD:" in said("--help", capsys=capsys)
