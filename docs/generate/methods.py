"""A page for each method: its idea, paper, view and loss, options, metrics, defaults, a command."""

import inspect
from importlib import import_module

from docs.generate.markdown import code, escape, fence, link_papers, table, toctree
from docs.generate.metrics import describe_metric, list_metrics
from docs.generate.options import Option, list_options, make_option_tables
from selfwise.methods import Method, find_method, own_names
from selfwise.methods.method import PaperDefaults
from selfwise.runs.pretrain_config import method_class_options, needs_class

INTRODUCTION = """\
# Methods

A method makes a task from data without labels: it defines the input of the encoder, the targets,
and the loss. [Choosing a method](../../choosing.md) compares them. Each page has the
options of one method; the options of training, data and encoder are equal for all methods, and are
on the page of [pretrain](../commands/pretrain.md).

"""
EXAMPLE_DATA = {"image": "photos/", "text": "documents/", "audio": "recordings/"}
LABELLED_DATA = "labelled/train"
ITERATED = ("hubert",)  # methods whose usual command is iterate
ABOUT_PAPER = {
    "optimizer": "optimizer",
    "lr": "peak learning rate, at the base batch",
    "base_batch": "base batch: the batch size of this rate",
    "scaling": "how the rate grows with the batch",
    "batch_size": "examples in a step, unless an option says otherwise",
    "weight_decay": "weight decay, on matrices",
    "warmup": "warm-up, as a fraction of all steps",
    "schedule": "schedule of the rate after the warm-up",
    "betas": "betas of adamw and lamb",
    "eps": "eps of adamw and lamb",
    "epochs": "passes over the data, unless an option says otherwise",
    "grad_clip": "largest norm of the gradient; 0 for no limit",
}


def make_method_pages() -> dict[str, str]:
    """Write the pages of all methods of the package, and the page that lists them."""
    kinds = {name: find_method(name) for name in own_names()}
    rows = [
        (f"[{code(name)}]({name}.md)", kind.modality, link_papers(escape(read_idea(kind))))
        for name, kind in kinds.items()
    ]
    index = INTRODUCTION + table(("method", "data", "paper and idea"), rows) + "\n"
    pages = {"methods/index.md": index + toctree(kinds, hidden=True)}
    return pages | {f"methods/{name}.md": make_page(name, kind) for name, kind in kinds.items()}


def make_page(name: str, kind: type[Method]) -> str:
    """The page of one method."""
    metrics = [(code(n), link_papers(escape(describe_metric(n)))) for n in list_metrics(name)]
    options = list_method_options(kind)
    parts = [
        f"# {name}\n",
        f"{link_papers(escape(read_idea(kind)))}\n",
        f"{read_about(kind)}\n",
        "## A command to run\n",
        fence(make_command(name, kind), "bash"),
        "## Data and encoder\n",
        "\n".join(f"- {what}: {value}" for what, value in describe(kind)) + "\n",
        "## Loss and metrics\n\nThe columns of `metrics.jsonl` that a run of this method has "
        "in addition to `step` and `lr`:\n",
        table(("name", "meaning"), metrics),
        "## Options of the method\n" if options else "",
        make_option_tables(options, level=3),
        "All other options are on the page of [pretrain](../commands/pretrain.md).\n",
        "## Defaults from the paper\n",
        table(("what", "value"), describe_paper(kind.paper)),
        f"{{py:class}}`{kind.__module__}.{kind.__qualname__}` is the class in Python.\n",
    ]
    return "\n".join(part for part in parts if part)


def list_method_options(kind: type[Method]) -> list[Option]:
    """The options of a method's constructor and of what it needs of the data."""
    own = [o._replace(group="method") for o in list_options([method_class_options(kind)])]
    return own + [o._replace(group="targets") for o in list_options([needs_class(kind)])]


def read_idea(kind: type[Method]) -> str:
    """The first sentence of the file of a method: authors, paper, idea."""
    text = inspect.cleandoc(import_module(kind.__module__).__doc__ or "")
    return " ".join(text.partition("\n\n")[0].split())


def read_about(kind: type[Method]) -> str:
    """What the docstring of a method says before its arguments, as paragraphs."""
    text = inspect.cleandoc(kind.__doc__ or "").partition("\nArgs:")[0]
    paragraphs = [" ".join(part.split()) for part in text.split("\n\n")]
    return "\n\n".join(link_papers(escape(part)) for part in paragraphs if part)


def make_command(name: str, kind: type[Method]) -> str:
    """The command that trains the method on somebody's files."""
    data = LABELLED_DATA if kind.labelled else EXAMPLE_DATA[kind.modality]
    verb = "iterate" if name in ITERATED else "pretrain"
    length = "--minutes 60" if kind.modality == "audio" else "--epochs 100"
    return f"selfwise {verb} {name} --data {data} --out runs/{name} {length}"


def describe(kind: type[Method]) -> list[tuple[str, str]]:
    """Return rows on the data that a method reads and on the encoder that it trains."""
    rows = [
        ("data", kind.modality + (" with labels" if kind.labelled else " without labels")),
        ("encoder by default", code(kind.default_encoder)),
    ]
    if kind.default_tokenizer:
        rows.append(("tokenizer by default", code(kind.default_tokenizer)))
    if kind.encoder_options:
        given = ", ".join(code(f"--encoder.{n} {v}") for n, v in kind.encoder_options.items())
        rows.append(("options of the encoder", given))
    if kind.couples_batch:
        rows.append(("micro-batches", f"refused: {escape(kind.couples_batch)}"))
    return rows


def describe_paper(paper: PaperDefaults) -> list[tuple[str, str]]:
    """Return rows with the training defaults that a method has from its paper."""
    return [(ABOUT_PAPER[n], code(f"{v}")) for n, v in paper._asdict().items()]
