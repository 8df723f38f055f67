"""The page of default values: the paper's, and the rules that replace them."""

import inspect
import re
from pathlib import Path

from docs.generate.markdown import code, escape, table
from selfwise.methods import Method, find_method, own_names
from selfwise.methods.default_rules import DefaultRule
from selfwise.runs.data_rules import DATA_RULES
from selfwise.runs.pretrain_config import config_class

LOG = Path(__file__).parents[1] / "log.md"
INTRODUCTION = """\
# Defaults

The papers train on a thousand times the data and the time that most people have. So `selfwise
pretrain` replaces some of their values by others that suit the kind of data, the machine, or the
number of steps. A rule that the method alone decides has one value, whatever the data are. The last
column names the experiment that compared a value with the paper's; "not measured alone" is a reason
without such a comparison. Before the first step a run prints each value that a rule has chosen, and
`run.yaml` records all values with [their sources](../guide/run-folders.md#sources-of-values).

- An option that you set stays as you set it. An encoder that you name is not changed either.
- `--defaults paper` switches all rules off.
- The experiments were made on held-out parts of training sets, with one exception: the smallest
  crop of drawings was seen on test digits.

A method of your own brings its rules in [`rules`](../adding.md).
"""


def make_defaults_page() -> dict[str, str]:
    """Return the page with every rule, the paper's value and the experiment, by its path."""
    kinds = {name: find_method(name) for name in own_names()}
    own = [row for name, kind in kinds.items() for row in _make_rows(name, kind, kind.rules)]
    shared = [
        (modality, code(rule.option), rule.source, escape(rule.about), link_log(rule.evidence))
        for modality, rules in DATA_RULES.items()
        for rule in rules
    ]
    heads = ("method", "option", "paper", "decided by", "rule", "experiment")
    return {
        "defaults.md": "\n".join(
            [
                INTRODUCTION,
                "## Rules of methods\n",
                table(heads, own),
                "## Rules for kinds of data\n\nThey apply to every method with the option, unless "
                "the method has a rule of its own.\n",
                table(("data", *heads[1:2], *heads[3:]), shared),
            ]
        )
    }


def _make_rows(
    name: str, kind: type[Method], rules: tuple[DefaultRule, ...]
) -> list[tuple[str, ...]]:
    return [
        (
            f"[{code(name)}](methods/{name}.md)",
            code(rule.option),
            find_paper_value(kind, rule.option),
            rule.source,
            escape(rule.about),
            link_log(rule.evidence),
        )
        for rule in rules
    ]


def find_paper_value(kind: type[Method], option: str) -> str:
    """Return the value of an option without the rule, as code."""
    if option == "adam_beta2":
        return code(str(kind.paper.betas[1]))
    if hasattr(kind.paper, option):
        return code(str(getattr(kind.paper, option)))
    parameters = inspect.signature(kind).parameters
    if option in parameters:
        return code(str(parameters[option].default))
    if option.startswith("encoder."):
        return f"that of {code(kind.default_encoder)}"
    reading = config_class(kind).model_fields["reading"].annotation
    return code(str(reading.model_fields[option].default))  # type: ignore[union-attr]


def link_log(title: str) -> str:
    """Return a link to the entry of the log with this title, under any date."""
    if not title:
        return "not measured alone"
    return f"[{escape(title)}](../log.md#{find_anchor(title)})"


def find_anchor(title: str) -> str:
    """Return the anchor of an entry of the log. Raises ValueError if there is no such entry."""
    headings = re.findall(r"^## (.+)$", read_log(), flags=re.MULTILINE)
    entry = next((one for one in headings if one.partition(": ")[2] == title), None)
    if entry is None:
        raise ValueError(f"docs/log.md has no entry {title!r}")
    return re.sub(r"[^\w\- ]", "", entry.lower()).replace(" ", "-")


def read_log() -> str:
    """Return the text of docs/log.md."""
    return LOG.read_text(encoding="utf-8")
