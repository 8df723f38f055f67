"""Tell what a training will be and be worth, without training: [METHOD] --data PATH."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import selfwise.workflows.plan

WORDS = "[METHOD]"
EXAMPLES = (
    "selfwise plan simclr --data photos/ --minutes 30",
    "selfwise plan --data python-docs --minutes 10",
)


def load_function() -> Callable[..., Any]:
    """Import the function that is called with the options."""
    from selfwise.workflows.plan import plan

    return plan


def propose_method(data: object) -> str:
    """Return the method for a command line that names none."""
    from selfwise.runs.forecast.propose import propose_method as propose

    return propose(data)


def format_result(
    result: "selfwise.workflows.plan.TrainingPlan", options: Mapping[str, object]
) -> str:
    """Return the text to print at the end."""
    return str(result)


def to_json(
    result: "selfwise.workflows.plan.TrainingPlan", options: Mapping[str, object]
) -> dict[str, object]:
    """Return the result for `--json`: the plan, all advice, and the cases of the forecast."""
    return result.to_dict()
