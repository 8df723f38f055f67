"""The meaning of the columns of metrics.jsonl, and the columns of each method."""

import json
from collections.abc import Iterator
from pathlib import Path

# a short run of each method, as text, for one kind of processor or two
GOLDEN = Path(__file__).parents[2] / "tests" / "golden"
EVERY_RUN = ("step", "lr", "grad_norm", "data_wait")

MEANINGS = {
    "accuracy": "fraction of training examples whose class the linear layer predicts",
    "active_triplets": "fraction of triplets that still violate the margin",
    "alignment": "mean squared distance of two views of one image, on the unit sphere; 0 is best "
    "(arXiv:2005.10242)",
    "code_perplexity": "the number of equally frequent codes that would be as hard to predict",
    "codes_an_image": "different codes in one image, on average",
    "codes_used": "fraction of all codes that occur",
    "color_accuracy": "fraction of pixels whose color bin is predicted",
    "color_error": "mean error of the predicted colors, in units of ab",
    "color_error_gray": "the error that predicting gray everywhere would have, for comparison",
    "color_nats": "cross-entropy over the color bins without weights, in nats",
    "colorization_loss": "loss: cross-entropy over the color bins, rare colors weighted more",
    "cross_entropy": "loss: cross-entropy over the classes",
    "effective_rank": "number of directions that the features use (RankMe, arXiv:2210.02885); a "
    "value near 1 is a collapse",
    "feature_penalty": "mean square of the output of the stem, a term of the loss",
    "jigsaw_loss": "loss: cross-entropy over the permutations",
    "jigsaw_accuracy": "fraction of puzzles whose permutation is predicted",
    "kl": "divergence of the code distribution from a uniform one, a term of the loss",
    "lm_accuracy": "fraction of tokens that are predicted right",
    "lm_loss": "loss: cross-entropy of the next token, in nats",
    "masked_loss": "loss: cross-entropy at the masked frames",
    "mim_accuracy": "fraction of masked patches whose target is predicted",
    "mim_loss": "loss: cross-entropy at the masked patches",
    "masked_accuracy": "fraction of masked positions that are predicted right",
    "mlm_loss": "loss: cross-entropy at the masked tokens",
    "mlm_accuracy": "fraction of masked tokens that are predicted right",
    "masked_share": "fraction of the frames that are masked",
    "mse": "loss: squared error of the reconstructed pixels",
    "negative_distance": "mean squared distance of anchors and negatives, at most 4",
    "nsp_loss": "loss: cross-entropy of whether the second part follows the first",
    "nsp_accuracy": "fraction of pairs that are judged right",
    "nt_xent": "loss: cross-entropy of finding the other view of an image among all views",
    "contrastive_top1": "fraction of views whose nearest view is the other view of their image",
    "pair_loss": "the loss of a pair of words (with cbow: of a center) with its negatives, in nats",
    "positive_distance": "mean squared distance of anchors and positives, at most 4",
    "reconstruction_mse": "squared error of images that are decoded from their codes",
    "rotation_loss": "loss: cross-entropy over the four turns",
    "rotation_accuracy": "fraction of images whose turn is predicted",
    "sop_loss": "loss: cross-entropy of whether two parts are in their order",
    "sop_accuracy": "fraction of pairs whose order is predicted",
    "temperature": "temperature of the Gumbel-softmax at this step",
    "triplet_loss": "loss: by how much triplets violate the margin, on average",
    "word2vec_loss": "loss: the sum of pair_loss over the pairs of a step",
    "uniformity": "how evenly images are spread over the unit sphere; -4 is even, 0 a collapse "
    "(arXiv:2005.10242)",
}
VALIDATION = "val/"  # prefix of values on held-out data


def list_metrics(method: str) -> list[str]:
    """Return the columns of `metrics.jsonl` that only runs of this method have."""
    text = min(GOLDEN.glob(f"*/{method}.json")).read_text(encoding="utf-8")
    columns = {column for row in list(_split_json(text))[1:] for column in row}
    return sorted(columns - {*EVERY_RUN}, key=lambda name: (name.startswith(VALIDATION), name))


def describe_metric(name: str) -> str:
    """Return the meaning of a column. Raises KeyError for a column without a description."""
    if name.startswith(VALIDATION):
        return f"`{name.removeprefix(VALIDATION)}` on held-out data"
    return MEANINGS[name]


def _split_json(text: str) -> Iterator[dict[str, object]]:
    """Yield the JSON values of a text that has several of them."""
    decoder, place = json.JSONDecoder(), 0
    while text[place:].strip():
        place = len(text) - len(text[place:].lstrip())
        value, place = decoder.raw_decode(text, place)
        yield value
