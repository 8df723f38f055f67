"""The command line. Each verb imports what it needs when it is called."""

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from selfwise import output
from selfwise.names import nearest

Argv = Sequence[str]

SHARED = ("pretrain", "iterate", "resume", "embed")  # what several processes do together
STOPPED = "stopped by Ctrl-C, before it was done"
STARTED = {"TORCHELASTIC_RUN_ID", "SLURM_STEP_NUM_TASKS"}  # the marks of torchrun and of SLURM


def main(argv: Argv | None = None) -> int:
    """Run one verb; a user's mistake is one line on stderr and exit code 2.

    Where nobody reads the output to its end, as in `selfwise --help | head -1`, it ends quietly.
    """
    try:
        code = _run(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        if not (pipes := output.unread()):
            raise
        output.drop(pipes)
        return output.ENDED


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(version("selfwise"))
        return 0
    try:
        verb = _verb(arguments[0])
        _check_alone(arguments[0])
        return verb(arguments[1:]) or 0
    except KeyboardInterrupt as stop:
        print(f"selfwise: {str(stop) or STOPPED}", file=sys.stderr)
        return 130
    except (ValueError, OSError, FloatingPointError) as error:
        if isinstance(error, BrokenPipeError) and output.unread():
            raise
        if os.environ.get("SELFWISE_DEBUG"):
            raise
        print(f"selfwise: {_sentence(error)}", file=sys.stderr)
        return 2


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}"
    return " ".join(str(error).split())


def _verb(name: str) -> Callable[[Argv], int | None]:
    if name not in VERBS:
        raise ValueError(f"unknown command {name!r}{nearest(name, VERBS)}")
    return VERBS[name]


def _check_alone(name: str) -> None:
    """Raises ValueError if several processes were started for what one of them does."""
    if STARTED & os.environ.keys():
        from selfwise.train.world import check_shared

        check_shared(name, SHARED)


def overview() -> str:
    """What `selfwise --help` prints."""
    lines = [f"  {name:<11}{verb.__doc__}" for name, verb in VERBS.items()]
    return "\n".join(
        [
            "usage: selfwise COMMAND ... (selfwise COMMAND --help says more)",
            "",
            "Self-supervised learning: an encoder from your unlabelled files, and the proof",
            "that it is worth having.",
            "",
            *lines,
            "",
            "  selfwise pretrain simclr --data photos/ --out runs/photos --epochs 100",
            "  selfwise probe runs/photos --train labelled/train --test labelled/test",
            "  selfwise pretrain bert --data documents/ --out runs/bert --minutes 30",
            "  selfwise iterate hubert --data recordings/ --out runs/speech --minutes 30",
            "  selfwise export runs/speech/iteration-2 --to hf --out hubert",
        ]
    )


def quickstart(argv: Argv) -> int:
    """The whole path on an embedded data set, in about two minutes."""
    from selfwise.recipes.quickstart import quickstart as recipe

    return _recipe_call("quickstart", recipe, argv)


def pretrain(argv: Argv) -> None:
    """Train an encoder: METHOD --data PATH --out RUN."""
    from selfwise import run
    from selfwise.method_line import call

    _say_done(call("pretrain", run.pretrain, argv))


def iterate(argv: Argv) -> None:
    """Train on clusters of the run before, again and again: METHOD --data PATH --out FOLDER."""
    from selfwise.iterate import iterate as repeat
    from selfwise.method_line import call

    _say_done(call("iterate", repeat, argv))


def bench(argv: Argv) -> None:
    """How fast a method trains here, how near the limit, and what to change: METHOD --data PATH."""
    from selfwise.bench.verb import bench as measured
    from selfwise.method_line import call

    if (found := call("bench", measured, argv)) is not None:
        print(found.text())


def resume(argv: Argv) -> None:
    """Go on with a run that was stopped, exactly: RUN."""
    from selfwise import run

    given = _parse("resume RUN", run.resume, argv, skip={"run", "data"})
    if given is not None:
        finished = run.resume(**given)
        _tell(f"{finished.folder} is done")


def embed(argv: Argv) -> None:
    """Write the vectors of a folder: RUN --data PATH --out FILE.parquet|.npz."""
    from selfwise import use

    given = _parse("embed RUN", use.write_embeddings, argv, skip={"run"})
    if given is not None:
        n, d = use.write_embeddings(**given).vectors.shape
        _tell(f"{n} vectors of width {d} are in {given['out']}")


def probe(argv: Argv) -> None:
    """Measure an encoder beside its baselines: RUN --train PATH --test PATH."""
    from rich.console import Console

    from selfwise import proof

    given = _parse("probe RUN", proof.probe, argv, skip={"run"})
    if given is not None:
        Console().print(proof.probe(**given).table())


def glue(argv: Argv) -> None:
    """All tasks of GLUE beside baselines, and the submission: RUN --data PATH --out FOLDER."""
    from rich.console import Console

    from selfwise import glue as tasks

    given = _parse("glue RUN", tasks.glue, argv, skip={"run"})
    if given is not None:
        Console().print(tasks.glue(**given).table())
        print(f"all of it is in {given['out']}")


def tokenizer(argv: Argv) -> None:
    """Train a tokenizer: CORPUS --kind wordpiece|bpe|unigram|chars --out FOLDER."""
    from selfwise import language

    given = _parse("tokenizer CORPUS", language.make_tokenizer, argv, skip={"corpus"})
    if given is not None:
        made = language.make_tokenizer(**given)
        print(f"a tokenizer with {made.vocabulary.size} tokens is in {given['out']}")


def fill(argv: Argv) -> None:
    """Fill in what is masked: RUN "the [MASK] sat"."""
    from selfwise.fill import fill as answer

    given = _parse("fill RUN TEXT", answer, argv, skip={"run", "text"})
    if given is not None:
        filling = answer(**given)
        several = len(filling.gaps) > 1
        titles = [f"gap {number} alone" for number in range(1, len(filling.gaps) + 1)]
        for title, one in zip(["all gaps", *titles], [filling.joint, *filling.gaps]):
            if several:
                print(title)
            for chance, text in zip(one.probabilities, one.texts):
                print(f"{chance:6.1%}  {text}")
            if not several:
                break


def generate(argv: Argv) -> None:
    """Go on with a text: RUN --prompt TEXT."""
    from selfwise import language

    given = _parse("generate RUN", language.generate, argv, skip={"run"})
    if given is not None:
        print(language.generate(**given))


def perplexity(argv: Argv) -> None:
    """The loss of a language model on held-out text: RUN --data PATH."""
    from selfwise import language

    given = _parse("perplexity RUN", language.perplexity, argv, skip={"run"})
    if given is not None:
        print(language.sentences(language.perplexity(**given)))


def import_weights(argv: Argv) -> None:
    """Make a run of published weights: FAMILY FOLDER|FILE --out RUN."""
    from selfwise import exchange

    given = _parse("import FAMILY FOLDER", exchange.import_run, argv, skip={"family", "folder"})
    if given is not None:
        made = exchange.import_run(**given)
        print(f"{made.folder} is a run; selfwise embed, probe and pretrain --start take it")


def export(argv: Argv) -> None:
    """Write a run for other tools: RUN --to hf|timm|onnx|safetensors --out FOLDER."""
    from selfwise import exchange

    given = _parse("export RUN", exchange.export_run, argv, skip={"run"})
    if given is not None:
        exchange.export_run(**given)
        print(f"{given['out']} holds {given['run']} as {given.get('to', 'hf')}")


def show(argv: Argv) -> None:
    """Options, state, metrics and scores of runs: RUN [RUN ...]."""
    from selfwise import show as shown

    given = _parse("show RUN...", shown.show, argv, skip={"runs"})
    if given is not None:
        print(shown.show(**given))


def report(argv: Argv) -> None:
    """Write a page that shows what runs have learned: RUN [RUN ...]."""
    from selfwise.report import write

    given = _parse("report RUN...", write.report, argv, skip={"runs"})
    if given is not None:
        print(f"the report is in {write.report(**given)}")


def run_recipe(argv: Argv) -> int:
    """Reproduce a published number: RECIPE."""
    from selfwise import recipes
    from selfwise.flags import wants_help

    if not argv or argv[0].startswith("-"):
        there = ", ".join(recipes.names())
        if not wants_help(argv):
            raise ValueError(f"name a recipe first: {there}")
        print(f"usage: selfwise run RECIPE [options]\n\nRECIPE: {there}")
        return 0
    return _recipe_call(f"run {argv[0]}", recipes.find(argv[0]), argv[1:])


def list_methods(argv: Argv) -> None:
    """List the methods."""
    from selfwise import methods

    width = max(map(len, methods.names()))
    for name in methods.names():
        summary = (methods.find(name).__doc__ or "").strip().splitlines()[0]
        print(f"{name:<{width}} {methods.find(name).modality:<7} {summary}")


def list_recipes(argv: Argv) -> None:
    """List the recipes, with what each should reach."""
    from selfwise import recipes

    width = max(map(len, recipes.names()))
    for name in recipes.names():
        print(f"{name:<{width}} {(recipes.find(name).__doc__ or '').strip().splitlines()[0]}")


def doctor(argv: Argv) -> None:
    """Versions, devices, threads, and what is missing."""
    from selfwise import doctor as examination

    print(examination.report())


def _recipe_call(verb: str, recipe: Callable[..., Any], argv: Argv) -> int:
    given = _parse(verb, recipe, argv, skip=set())
    if given is not None:
        recipe(**given)
    return 0


def _say_done(finished: Any) -> None:
    if finished is not None:
        _tell(f"{finished.folder} is done; selfwise show, embed and probe go on from there")


def _tell(text: str) -> None:
    """Say it once, where torchrun has started several processes that all come by here."""
    from selfwise.train.world import given

    if (world := given()) is None or world.rank == 0:
        print(text)


def _parse(verb: str, function: Callable[..., Any], argv: Argv, *, skip: set[str | int]) -> Any:
    from selfwise.flags import call

    return call(verb, function, argv, skip=skip)


VERBS: dict[str, Callable[[Argv], int | None]] = {
    "quickstart": quickstart,
    "pretrain": pretrain,
    "iterate": iterate,
    "bench": bench,
    "resume": resume,
    "embed": embed,
    "probe": probe,
    "glue": glue,
    "show": show,
    "report": report,
    "fill": fill,
    "generate": generate,
    "perplexity": perplexity,
    "tokenizer": tokenizer,
    "import": import_weights,
    "export": export,
    "run": run_recipe,
    "recipes": list_recipes,
    "methods": list_methods,
    "doctor": doctor,
}
