"""What BERT-base reaches on dev of GLUE, for scale: it is no baseline on equal terms.

It has 110 million weights and was pre-trained on 3.3 billion words (arXiv:1810.04805), then
fine-tuned on each task for 3 epochs at 2e-5. Numbers, in percent, from the table in the README of
transformers' examples/pytorch/text-classification, of bert-base-cased, one seed.
"""

NAME = "BERT-base, published"
PUBLISHED = {  # column, metric
    ("cola", "matthews"): 56.53,
    ("sst2", "accuracy"): 92.32,
    ("mrpc", "f1"): 88.85,
    ("mrpc", "accuracy"): 84.07,
    ("stsb", "pearson"): 88.64,
    ("stsb", "spearman"): 88.48,
    ("qqp", "accuracy"): 90.71,
    ("qqp", "f1"): 87.49,
    ("mnli-m", "accuracy"): 83.91,
    ("mnli-mm", "accuracy"): 84.10,
    ("qnli", "accuracy"): 90.66,
    ("rte", "accuracy"): 65.70,
    ("wnli", "accuracy"): 56.34,
}
