"""The functions and classes of the API reference; Sphinx reads their docstrings."""

from collections.abc import Sequence
from importlib import import_module
from inspect import Parameter, Signature, signature
from typing import NamedTuple

import selfwise
from docs.generate.markdown import toctree
from selfwise import commands
from selfwise.methods import Method, find_method, own_names


class Page(NamedTuple):
    """A page of the reference: a title, a sentence or two, and dotted names."""

    title: str
    about: str
    names: Sequence[str]


PARTS = {
    "losses": "selfwise.losses",
    "views": "selfwise.views",
    "encoders": "selfwise.encoders",
    "probes": "selfwise.evaluation.probes",
    "targets": "selfwise.targets",
    "testing": "selfwise.testing",
}
MORE = {  # what the functions of a part return
    "views": (
        "selfwise.views.text.token_mask.MaskedTokens",
        "selfwise.views.audio.span_mask.MaskedFrames",
    ),
    "encoders": (
        "selfwise.encoders.image.TimmEncoder",
        "selfwise.encoders.beit.ViT",
        "selfwise.encoders.text.TextTransformer",
        "selfwise.encoders.word_table.WordTable",
        "selfwise.encoders.speech.SpeechTransformer",
    ),
    "probes": (
        "selfwise.evaluation.probes.linear.LinearFit",
        "selfwise.evaluation.probes.layer_mix.LayerMixFit",
        "selfwise.evaluation.probes.retrieval.RetrievalMeasures",
    ),
}
RESULTS = (
    "selfwise.runs.open.Run",
    "selfwise.runs.run_yaml.RunRecord",
    "selfwise.workflows.embed.EmbeddingTable",
    "selfwise.evaluation.scores.probe_score.ProbeScore",
    "selfwise.evaluation.scores.probe_score.ProbeResult",
    "selfwise.evaluation.scores.probe_score.ProbeComparison",
    "selfwise.evaluation.probes.baselines.FeatureSplit",
    "selfwise.evaluation.probes.matrix.FeatureBlocks",
    "selfwise.glue.scores.GlueScores",
    "selfwise.profiling.bench_report.BenchReport",
    "selfwise.workflows.plan.TrainingPlan",
    "selfwise.workflows.plan.PlannedDefault",
    "selfwise.runs.forecast.estimate.Forecast",
    "selfwise.runs.forecast.cases.MeasuredCase",
    "selfwise.runs.forecast.advice.Advice",
    "selfwise.workflows.fill.Filling",
    "selfwise.workflows.fill.Candidates",
    "selfwise.tokenizers.tokenizer.Tokenizer",
)
CONTRACTS = (
    "selfwise.methods.method.Method",
    "selfwise.methods.method.PaperDefaults",
    "selfwise.methods.method.cross_entropy_step",
    "selfwise.methods.method.mean_over",
    "selfwise.core.types.ImageBatch",
    "selfwise.core.types.TextBatch",
    "selfwise.core.types.AudioBatch",
    "selfwise.core.types.Labelled",
    "selfwise.core.types.Features",
    "selfwise.core.types.Term",
    "selfwise.core.types.Step",
    "selfwise.core.types.Encoder",
    "selfwise.core.types.TokenEncoder",
    "selfwise.core.types.TextEncoder",
    "selfwise.core.types.SpeechEncoder",
    "selfwise.core.types.Frames",
    "selfwise.core.types.PatchEncoder",
    "selfwise.core.types.Units",
    "selfwise.core.types.Vocabulary",
    "selfwise.core.types.RowSampler",
    "selfwise.core.types.EpochPlan",
    "selfwise.core.rng.Rng",
    "selfwise.core.rng.generator",
)
NEEDS = (
    "selfwise.methods.needs.FromFacts",
    "selfwise.methods.needs.FromData",
    "selfwise.methods.needs.Computed",
    "selfwise.methods.needs.ImageSampler",
    "selfwise.methods.needs.PatchTargetNeed",
    "selfwise.methods.needs.PatchTargetOptions",
    "selfwise.methods.needs.FrameTargetNeed",
    "selfwise.methods.needs.FrameTargetOptions",
    "selfwise.methods.default_rules.DefaultRule",
    "selfwise.methods.default_rules.Conditions",
    "selfwise.methods.inspection.ImageGrid",
    "selfwise.methods.inspection.ImageColumn",
    "selfwise.methods.inspection.MaskedTextExamples",
    "selfwise.methods.inspection.NextTokenExamples",
    "selfwise.methods.inspection.MaskedAudioExamples",
    "selfwise.methods.inspection.Predictions",
    "selfwise.methods.inspection.PairPredictions",
)
MODALITY = (
    "selfwise.modalities.modality",
    "selfwise.modalities.earlier_run",
    "selfwise.modalities.feature_options",
    "selfwise.modalities.reading_options",
    "selfwise.modalities.trial_data",
)


def list_pages() -> dict[str, Page]:
    """Return the pages of the reference, by name."""
    functions = [f"selfwise.{name}" for name in commands.command_names()]
    methods = [find_method(name) for name in own_names()]
    pages = {
        "selfwise": Page(
            "selfwise",
            "Each command of the command line is a function, with the command's options as "
            "keyword arguments. A mistake raises `ValueError` with the sentence that the command "
            "line prints.",
            [*functions, "selfwise.load"],
        ),
        "results": Page("Runs and results", "The return values of the functions.", RESULTS),
    }
    for name, module in PARTS.items():
        public = import_module(module).__all__
        about = " ".join((import_module(module).__doc__ or "").split())
        names = [*(f"{module}.{n}" for n in public), *MORE.get(name, ())]
        pages[name] = Page(f"selfwise.{name}", about, names)
    pages["contracts"] = Page(
        "Contracts: batches, features, steps, methods",
        "The types that methods and encoders share. [Adding a method](../../adding.md) and "
        "[an encoder of your own](../../own-encoder.md) use them.",
        CONTRACTS,
    )
    pages["needs"] = Page(
        "Needs and inspection",
        "What a method may require of its data, and show in a report.",
        NEEDS,
    )
    pages["modality"] = Page(
        "Modality",
        "Images, text and audio each have one object, which opens data, builds encoders and "
        "extracts features.",
        [name for module in MODALITY for name in list_classes(module)],
    )
    pages["methods"] = Page(
        "Methods as classes",
        "A method is a `torch.nn.Module`.",
        [
            f"{part.__module__}.{part.__qualname__}"
            for kind in methods
            for part in (kind, *_views(kind))
        ],
    )
    return pages


def make_api_pages() -> dict[str, str]:
    """Write the text of all pages of the reference, and of the page that lists them."""
    pages = list_pages()
    index = (
        "# API reference\n\n"
        f"Version {selfwise.__version__}. The parts work alone, on plain tensors and arrays and "
        "without a run folder: losses, views, encoders, probes and targets.\n\n"
    )
    index += toctree(pages, depth=1)
    texts = {f"api/{name}.md": _make_page(page) for name, page in pages.items()}
    return {"api/index.md": index, **texts}


def _make_page(page: Page) -> str:
    parts = [f"# {page.title}\n", f"{page.about}\n"]
    parts += ["```{eval-rst}", *(line for name in page.names for line in _make_entry(name)), "```"]
    return "\n".join(parts) + "\n"


def list_classes(module: str) -> list[str]:
    """Return the public classes of a module, in its order."""
    members = vars(import_module(module))
    return [
        f"{module}.{name}"
        for name, thing in members.items()
        if isinstance(thing, type) and thing.__module__ == module and not name.startswith("_")
    ]


def _views(kind: type[Method]) -> list[type]:
    """Return the class of a method's view, if the file of the method defines it."""
    view = kind.view.__annotations__.get("return")
    own = isinstance(view, type) and view.__module__ == kind.__module__
    return [view] if isinstance(view, type) and own else []


def _make_entry(name: str) -> list[str]:
    """Write the directive of one name; classes show their own methods."""
    module, _, last = name.rpartition(".")
    thing = getattr(import_module(module), last)
    if not isinstance(thing, type):
        return [f".. autofunction:: {name}{_short_signature(name)}", ""]
    options = ["   :members:"]
    if fields := getattr(thing, "_fields", ()):
        options.append(f"   :exclude-members: {', '.join((*fields, 'count', 'index'))}")
    return [f".. autoclass:: {name}", *options, ""]


def _short_signature(name: str) -> str:
    """Write the signature of a command that trains a method, without the options of training."""
    room, _, last = name.rpartition(".")
    if room != "selfwise" or last not in commands.command_names():
        return ""
    command = commands.import_command(last)
    if not commands.takes_method(command):
        return ""
    parameters = signature(command.load_function()).parameters.values()
    plain = [p.replace(annotation=Parameter.empty) for p in parameters]
    return str(Signature(plain))
