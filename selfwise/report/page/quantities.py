"""What is logged while a run trains: how each value is called, and which belong together."""

from collections.abc import Sequence

HELD_OUT = "held_out/"
HEALTH = ("alignment", "uniformity", "rank", "knn_top1")
SETTINGS = ("online_knn_k",)  # numbers that are logged and do not change: no curve
PERCENT = ("accuracy", "contrastive_top1", "knn_top1", "waiting_for_data", "masked_share", "active")
COMPARED_VALUES = {  # values that are read against each other, and what they are
    "positive_distance": "squared distances of triplets",
    "negative_distance": "squared distances of triplets",
    "color_error": "error of the colours",
    "color_error_gray": "error of the colours",
}
TITLES = {
    "nt_xent": "NT-Xent loss, nats",
    "cross_entropy": "cross-entropy, nats",
    "masked": "loss at masked places, nats",
    "next_token": "loss of the next token, nats",
    "next_sentence": "loss of the next sentence, nats",
    "sentence_order": "loss of the sentences' order, nats",
    "rotation": "rotation loss, nats",
    "jigsaw": "jigsaw loss, nats",
    "triplet": "triplet loss",
    "colorization": "colour loss, rare colours weigh more",
    "color_nats": "cross-entropy of the colours, nats",
    "codes_an_image": "different codes in an image",
    "reconstruction_mse": "squared error of reconstructions",
    "mse": "squared error",
    "codes_used": "codes in use",
    "code_perplexity": "perplexity of the codes",
    "unmasked": "loss at places that are seen",
    "power": "penalty on the features",
    "lr": "learning rate",
    "contrastive_top1": "partner is the nearest",
    "active": "triplets that still count",
    "masked_share": "share that is masked",
    "alignment": "alignment: distance of two views",
    "uniformity": "uniformity of the vectors",
    "rank": "effective rank of the vectors",
    "knn_top1": "accuracy of nearest neighbours",
    "online_knn_k": "nearest neighbours that vote",
    "positive_distance": "to the positive",
    "negative_distance": "to the negative",
    "color_accuracy": "accuracy of the colours",
    "color_error": "of the model",
    "color_error_gray": "of grey pictures",
    "examples_per_second": "examples a second",
    "waiting_for_data": "share of time waiting for data",
}


def is_percent(name: str) -> bool:
    """Whether a value is a share, shown in percent."""
    return name.endswith(PERCENT)


def plot_title(names: Sequence[str]) -> str:
    """What a plot of these values shows."""
    if len(names) > 1:
        return COMPARED_VALUES.get(names[0], "accuracy")
    name = names[0]
    title = TITLES.get(name, name.replace("_", " "))
    return f"{COMPARED_VALUES[name]} {title}" if name in COMPARED_VALUES else title


def row_title(name: str) -> str:
    """A value in a table of values, with its unit."""
    bare = name.removeprefix(HELD_OUT)
    title = plot_title([bare]) + (", %" if is_percent(bare) else "")
    return f"{title}, held out" if bare != name else title


def capitalize_first(text: str) -> str:
    """The text with a capital letter at its beginning; the rest stays as it is."""
    return text[:1].upper() + text[1:]
