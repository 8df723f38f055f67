"""Scores of BERT-base on dev of GLUE, for scale; they are not a baseline on equal terms."""

NAME = "BERT-base, published"
# 110 million weights, 3.3 billion words: arXiv:1810.04805, sections 3 and 3.1, which has the scores
# of all tasks on test alone. This table, on dev, has all nine with every metric, and no averages:
# README of huggingface/transformers, examples/pytorch/text-classification, section "GLUE tasks"
# (bert-base-cased, one seed, 2e-5, 3 epochs; 5 of MRPC and WNLI).
CAPTION = (
    f"{NAME}: for scale, not a baseline on equal terms. It has 110 million weights, was "
    "pre-trained on 3.3 billion words and fine-tuned on each task (bert-base-cased, one seed, "
    "from the README of transformers' examples/pytorch/text-classification)."
)
PUBLISHED = {  # column, metric -> share
    ("cola", "matthews"): 0.5653,
    ("sst2", "accuracy"): 0.9232,
    ("mrpc", "f1"): 0.8885,
    ("mrpc", "accuracy"): 0.8407,
    ("stsb", "pearson"): 0.8864,
    ("stsb", "spearman"): 0.8848,
    ("qqp", "accuracy"): 0.9071,
    ("qqp", "f1"): 0.8749,
    ("mnli-m", "accuracy"): 0.8391,
    ("mnli-mm", "accuracy"): 0.8410,
    ("qnli", "accuracy"): 0.9066,
    ("rte", "accuracy"): 0.6570,
    ("wnli", "accuracy"): 0.5634,
}


def format_published(share: float | None) -> str:
    """In percent, with the digits of the source; "" for none."""
    return "" if share is None else f"{100 * share:.2f}"
