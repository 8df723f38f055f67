"""How later commands read examples: labels, broken files, and the columns of tables."""

from collections.abc import Collection
from dataclasses import dataclass

from selfwise.core.config_class import format_flag

COLUMNS = ("text_column", "label_column", "group_column")


@dataclass(frozen=True)
class ReadingOptions:
    """How to read the examples of a probe."""

    labelled: bool = False
    skip_broken: bool = False
    text_column: str = ""
    """For text: the column that holds the text."""
    label_column: str = ""
    """The column of a table with the label."""
    group_column: str = ""
    """For recordings: the column of a table with the group, such as the speaker."""

    def check_columns(self, modality: str, allowed: Collection[str]) -> None:
        """Raise ValueError for a column option that the tables of a modality do not have."""
        for name in COLUMNS:
            if getattr(self, name) and name not in allowed:
                takes = ", ".join(format_flag(one) for one in allowed)
                raise ValueError(
                    f"{format_flag(name)} is not for runs on {modality}, which take {takes}"
                )
