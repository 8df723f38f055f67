"""The fine-tuning settings of each paper on GLUE, as plain data.

A recipe with several rates or batches is a search; with `early` an epoch is chosen, too. In the
papers dev chooses, here a part of train.
"""

from itertools import product
from typing import NamedTuple

from selfwise.core.errors import did_you_mean
from selfwise.glue.tasks import GlueTask


class FinetuneSetting(NamedTuple):
    """One point of the search."""

    rate: float
    batch: int

    def __str__(self) -> str:
        return f"rate {self.rate:g}, batch {self.batch}"


class FinetuneRecipe(NamedTuple):
    """Everything that decides on a fine-tuning but the seed. The optimizer is AdamW.

    Google's code for BERT and ALBERT lacks Adam's correction for its bias; we have it, as fairseq
    has. Without it small tasks fail more often (arXiv:2006.05987, section 4).
    """

    name: str
    rates: tuple[float, ...]
    batches: tuple[int, ...]
    epochs: int = 3
    steps: int = 0  # in place of epochs, where it is not 0
    warmup: float = 0.1  # below 1 a share of the steps, from 1 on their number
    schedule: str = "linear"
    weight_decay: float = 0.01  # not of biases and norms
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-6
    clip: float = 1.0  # norm of the gradient; 0: any
    dropout: float | None = 0.1  # in the encoder; None: as it was made
    head_dropout: float = 0.1
    length: int = 128  # longer texts are cut
    early: bool = False  # use the best epoch and not the last
    pooling: str = ""  # cls, last or mean; by default last for a causal encoder, otherwise cls
    precision: str = "float32"  # or bf16
    held_out: float = 0.1  # share of train that chooses; 0: dev does, as in the papers

    def list_settings(self) -> list[FinetuneSetting]:
        """Return every combination of a rate and a batch."""
        return [FinetuneSetting(*one) for one in product(self.rates, self.batches)]

    def without_search(self) -> "FinetuneRecipe":
        """With the first of its settings and after the last epoch, so that nothing is chosen."""
        return self.with_setting(self.list_settings()[0])._replace(early=False)

    def with_setting(self, setting: FinetuneSetting) -> "FinetuneRecipe":
        """Return the recipe with one setting alone."""
        return self._replace(rates=(setting.rate,), batches=(setting.batch,))


FIXED = "fixed"
MIN_CHOOSERS = 100  # examples that may choose a setting; of 20, one more right answer is 5 points


def can_choose(examples: int) -> bool:
    """Return whether so many examples may choose between settings; fewer choose by chance."""
    return examples >= MIN_CHOOSERS


RECIPES = {
    recipe.name: recipe
    for recipe in (
        # Cramming (arXiv:2212.14034), its configuration GLUE_sane: one setting for all tasks
        FinetuneRecipe(
            FIXED,
            (4e-5,),
            (16,),
            epochs=5,
            schedule="cosine",
            weight_decay=0.0,
            betas=(0.9, 0.98),
            clip=0.0,
        ),
        # arXiv:1810.04805 section 4.1, and `run_classifier.py` for what the paper does not say
        FinetuneRecipe("bert", (5e-5, 4e-5, 3e-5, 2e-5), (32,)),
        # arXiv:1907.11692 section 5.1 and table 10; fairseq's README for GLUE
        FinetuneRecipe(
            "roberta",
            (1e-5, 2e-5, 3e-5),
            (16, 32),
            epochs=10,
            warmup=0.06,
            weight_decay=0.1,
            betas=(0.9, 0.98),
            clip=0.0,
            length=512,
            early=True,
        ),
        # google-research/albert `run_glue.sh`; rate, batch, steps and warm-up: ALBERT below.
        # Its script takes the best of the checkpoints; we look once an epoch.
        FinetuneRecipe("albert", (), (), dropout=None, length=512, early=True),
        # google-research/bert, README on BERT-mini and the like (arXiv:1908.08962): 4 epochs and
        # these rates; of its five batches the middle one
        FinetuneRecipe("small", (3e-5, 5e-5, 1e-4, 3e-4), (32,), epochs=4),
    )
}
# rate, batch, steps, steps of warm-up
ALBERT_SETTINGS = {
    "cola": (1e-5, 16, 5336, 320),
    "sst2": (1e-5, 32, 20_935, 1256),
    "mrpc": (2e-5, 32, 800, 200),
    "stsb": (2e-5, 16, 3598, 214),
    "qqp": (5e-5, 128, 14_000, 1000),
    "mnli": (3e-5, 128, 10_000, 1000),
    "qnli": (1e-5, 32, 33_112, 1986),
    "rte": (3e-5, 32, 800, 200),
}


def find_finetune_recipe(name: str, task: GlueTask) -> FinetuneRecipe:
    """Return the recipe of that name for a task.

    Raises ValueError for a name that is not in RECIPES and for a task that ALBERT's table lacks.
    """
    if name not in RECIPES:
        raise ValueError(f"unknown recipe {name!r}{did_you_mean(name, RECIPES)}")
    recipe = RECIPES[name]
    if name != "albert":
        return recipe
    if task.name not in ALBERT_SETTINGS:
        tasks = ", ".join(ALBERT_SETTINGS)
        raise ValueError(f"the recipe albert has no settings for {task.name}; it covers: {tasks}")
    rate, batch, steps, warmup = ALBERT_SETTINGS[task.name]
    return recipe.with_setting(FinetuneSetting(rate, batch))._replace(steps=steps, warmup=warmup)
