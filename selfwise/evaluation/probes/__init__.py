"""Probes of frozen features; the functions here take arrays of numpy and need no run folder."""

from selfwise.evaluation.probes.knn import choose_k, predict_knn
from selfwise.evaluation.probes.layer_mix import fit_layer_mix
from selfwise.evaluation.probes.linear import fit_linear, fit_sgd
from selfwise.evaluation.probes.retrieval import measure_retrieval

__all__ = [
    "choose_k",
    "fit_layer_mix",
    "fit_linear",
    "fit_sgd",
    "measure_retrieval",
    "predict_knn",
]
