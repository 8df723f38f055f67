"""The words of score files: competitors, a kind of probe, and a number of neighbors."""

PRETRAINED, UNTRAINED, RAW = "pretrained", "untrained", "raw input"  # competitors
SUPERVISED = "supervised"  # competitor: the same encoder, trained on the labels alone
COMBINED = "pretrained + raw input"  # competitor: the encoder's vectors together with the raw input
RETRIEVAL = "retrieval"  # kind of probe that learns from no labels
DEVIATION = "mean+deviation"  # a pooling that is the default of probes
SIF = "sif"  # a pooling of word vectors, by smooth inverse frequency
CHOSEN = "chosen"  # in place of k of the nearest neighbors: on the training examples
AUTO = "auto"  # in place of a layer: training labels choose layer and pooling
WORDS = "bag of words"  # the raw baseline of GLUE
# the raw input of each modality, in sentences
RAW_NAMES = {"image": "raw pixels", "text": "a bag of words", "audio": "MFCC features"}
