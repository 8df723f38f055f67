"""Names of the values that a training logs, and which of them share a plot."""

from collections.abc import Sequence

HELD_OUT = "val/"
HEALTH = ("alignment", "uniformity", "effective_rank", "knn_top1")
SETTINGS = ("knn_k",)  # numbers that are logged and do not change: no curve
PERCENT = (
    "accuracy",
    "contrastive_top1",
    "knn_top1",
    "data_wait",
    "masked_share",
    "active_triplets",
)
COMPARED_VALUES = {  # values to compare with each other, and their quantity
    "positive_distance": "squared distances of triplets",
    "negative_distance": "squared distances of triplets",
    "color_error": "error of the colors",
    "color_error_gray": "error of the colors",
}
TITLES = {
    "nt_xent": "NT-Xent loss, nats",
    "cross_entropy": "cross-entropy, nats",
    "mlm_loss": "masked-LM loss, nats",
    "mlm_accuracy": "accuracy at masked tokens",
    "mim_loss": "loss at masked patches, nats",
    "mim_accuracy": "accuracy at masked patches",
    "masked_loss": "loss at masked frames, nats",
    "masked_accuracy": "accuracy at masked frames",
    "unmasked_loss": "loss at unmasked frames, nats",
    "unmasked_accuracy": "accuracy at unmasked frames",
    "lm_loss": "next-token loss, nats",
    "lm_accuracy": "next-token accuracy",
    "nsp_loss": "next-sentence loss, nats",
    "nsp_accuracy": "next-sentence accuracy",
    "sop_loss": "sentence-order loss, nats",
    "sop_accuracy": "sentence-order accuracy",
    "rotation_loss": "rotation loss, nats",
    "jigsaw_loss": "jigsaw loss, nats",
    "triplet_loss": "triplet loss",
    "colorization_loss": "color loss, rare colors weigh more",
    "color_nats": "cross-entropy of the colors, nats",
    "codes_an_image": "different codes in an image",
    "reconstruction_mse": "squared error of reconstructions",
    "mse": "squared error",
    "codes_used": "codes in use",
    "code_perplexity": "perplexity of the codes",
    "feature_penalty": "penalty on the features",
    "lr": "learning rate",
    "contrastive_top1": "accuracy: the partner is the nearest",
    "active_triplets": "triplets with a loss above zero",
    "masked_share": "masked fraction",
    "alignment": "alignment: distance of two views",
    "uniformity": "uniformity of the vectors",
    "effective_rank": "effective rank of the vectors",
    "knn_top1": "kNN accuracy",
    "knn_k": "neighbors in the kNN vote",
    "positive_distance": "to the positive",
    "negative_distance": "to the negative",
    "color_accuracy": "accuracy of the colors",
    "color_error": "of the model",
    "color_error_gray": "of gray pictures",
    "examples_per_second": "examples a second",
    "data_wait": "fraction of time waiting for data",
}


def is_percent(name: str) -> bool:
    """Return whether a value is a share, shown in percent."""
    return name.endswith(PERCENT)


def plot_title(names: Sequence[str]) -> str:
    """Return the title of a plot of these values."""
    if len(names) > 1:
        return COMPARED_VALUES.get(names[0], "accuracy")
    name = names[0]
    title = TITLES.get(name, name.replace("_", " "))
    return f"{COMPARED_VALUES[name]} {title}" if name in COMPARED_VALUES else title


def row_title(name: str) -> str:
    """Return a value in a table of values, with its unit."""
    bare = name.removeprefix(HELD_OUT)
    title = plot_title([bare]) + (", %" if is_percent(bare) else "")
    return f"{title}, held out" if bare != name else title


def capitalize_first(text: str) -> str:
    """Return the text with a capital letter at its beginning; the rest stays as it is."""
    return text[:1].upper() + text[1:]
