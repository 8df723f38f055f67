"""Discrete targets: clusters of frames and codes of patches; these functions take plain tensors."""

from selfwise.targets.kmeans import Clustering, assign_clusters, fit_kmeans
from selfwise.targets.mfcc import compute_mfcc

__all__ = ["Clustering", "assign_clusters", "compute_mfcc", "fit_kmeans"]
