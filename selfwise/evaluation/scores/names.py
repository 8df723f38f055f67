"""The words of score files: competitors, a kind of probe, and a number of neighbours."""

PRETRAINED, UNTRAINED, RAW = "pretrained", "untrained", "raw input"  # competitors
RETRIEVAL = "retrieval"  # kind of probe that learns from no labels
CHOSEN = "chosen"  # in place of k of the nearest neighbours: on the training examples
