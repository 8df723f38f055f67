"""Bugs in units: (name, file, old, new, tests), for tests/mutants.py."""

MFCC, KMEANS = "tests/targets/test_mfcc.py", "tests/parity/test_kmeans.py"
CODEBOOK, LABELS = "tests/targets/test_codebook.py", "tests/targets/test_frame_labels.py"
PATCHES = "tests/targets/test_patches.py"

# fmt: off
# ruff: noqa: E501
MUTANTS = [
    ("Hann's window", "targets/mfcc.py", "** 0.85", "** 1.0", MFCC),
    ("no frame loses its constant", "targets/mfcc.py", "frames - frames.mean(dim=2, keepdim=True)", "frames + 0", MFCC),
    ("no lifter", "targets/mfcc.py", "1 + LIFTER / 2 *", "1 + 0 *", MFCC),
    ("the floor of float64", "targets/mfcc.py", "torch.finfo(torch.float32).eps", "torch.finfo(torch.float64).eps", MFCC),
    ("magnitudes, not powers", "targets/mfcc.py", ".abs().square()", ".abs()", MFCC),
    ("triangles in Hertz", "targets/mfcc.py", "return 1127.0 * (1.0 + hertz / 700.0).log()", "return hertz", MFCC),
    ("differences look into the padding", "targets/mfcc.py", "last = (own - 1).clamp(min=0)[:, None]", "last = torch.full_like(own, x.shape[1] - 1)[:, None]", MFCC),
    ("differences of three frames", "targets/mfcc.py", "REACH = 2 ", "REACH = 1 ", MFCC),
    ("second differences are the first", "targets/mfcc.py", "_differences(first, own)]", "first]", MFCC),
    ("the odd frames", "targets/mfcc.py", "[:, ::2]", "[:, 1::2]", MFCC),
    ("one frame too many is real", "targets/mfcc.py", "place <= last[:, None]", "place <= last[:, None] + 1", MFCC),
    ("MFCC in bf16", "targets/mfcc.py", "enabled=False", "enabled=True, dtype=torch.bfloat16", MFCC),
    ("the nearest by |c|^2", "targets/kmeans.py", "centres.square().sum(dim=1) / 2", "centres.square().sum(dim=1)", KMEANS),
    ("starts by distance, not its square", "targets/kmeans.py", "reach = left.double()", "reach = left.double().sqrt()", KMEANS),
    ("one candidate a start", "targets/kmeans.py", "trials, square = 2 + int(math.log(k))", "trials, square = 1", KMEANS),
    ("the worst candidate", "targets/kmeans.py", ".sum(dim=1).argmin()", ".sum(dim=1).argmax()", KMEANS),
    ("an empty cluster stays", "targets/kmeans.py", "if distance > 0:", "if distance < 0:", KMEANS),
    ("the farthest point stays in its cluster too", "targets/kmeans.py", "            sums[own] -= point\n            counts[own] -= 1\n", "", KMEANS),
    ("mini-batches forget what was before", "targets/kmeans.py", "self.counts = after", "self.counts = counts", KMEANS),
    ("the tolerance is of all features together", "targets/kmeans.py", "unbiased=False).mean()\n    before", "unbiased=False).sum()\n    before", KMEANS),
    ("Lloyd's ids are of the centres before", "targets/kmeans.py", "    ids = nearest(x, centres)\n    return Clustering", "    return Clustering", KMEANS),
    ("sums in float32", "targets/kmeans.py", "return x.new_zeros((clusters, x.shape[1]), dtype=torch.float64).index_add_(\n            0, ids, x.double()\n        ), counts", "return x.new_zeros((clusters, x.shape[1]), dtype=torch.float32).index_add_(\n            0, ids, x.float()\n        ).double(), counts", KMEANS),
    ("more clusters than points", "targets/kmeans.py", "if clusters > n:", "if clusters > 2 * n:", CODEBOOK),
    ("a pass adds the last batch alone", "targets/kmeans_streaming.py", 't["sums"] + sums, t["counts"] + counts', "sums, counts", CODEBOOK),
    ("a killed pass starts with what it had", "targets/kmeans_streaming.py", 'if not self.facts["done"]:', 'if not self.facts["done"] or len(self.tensors["far"]):', CODEBOOK),
    ("farthest of the last batch alone", "targets/kmeans_streaming.py", "both = Far(*(torch.cat(pair) for pair in zip(old, new)))", "both = new", CODEBOOK),
    ("mini-batches begin from nothing", "targets/kmeans_streaming.py", 'MiniBatch(self.tensors["centres"], self.tensors["counts"])', 'MiniBatch(self.tensors["centres"])', CODEBOOK),
    ("a resumed fit is done again", "targets/kmeans_streaming.py", "self.tensors, self.facts = tensors, facts", "pass", CODEBOOK),
    ("the first start is taken", "targets/kmeans_streaming.py", "best = min(found, key=lambda each: float(each.inertia))", "best = found[0]", CODEBOOK),
    ("the sample has the first rows", "targets/kmeans_streaming.py", 'torch.from_numpy(shuffle_indices(len(x), settings.seed, "sample", int(j))[:quota])', "torch.zeros(min(quota, len(x)), dtype=torch.int64)", CODEBOOK),
    ("a fit of other settings goes on", "targets/kmeans_streaming.py", "if told.get(name) != value:", "if False:", CODEBOOK),
    ("everything is held", "targets/kmeans_streaming.py", "if x.nbytes <= self.left:", "if True:", CODEBOOK),
    ("values that are not finite are clustered", "targets/kmeans_streaming.py", "if not bool(x.isfinite().all()):", "if False:", CODEBOOK),
    ("pieces go to the recording's start", "targets/frame_labels.py", "offset.cpu().numpy() // HOP", "offset.cpu().numpy() * 0", LABELS),
    ("padding is written", "targets/frame_labels.py", "units[places[real]] = found", "units[places.clip(max=len(units) - 1)] = numbers", LABELS),
    ("frames without a unit", "targets/frame_labels.py", "if missing:", "if missing > 99:", LABELS),
    ("frames of the next recording", "targets/frame_labels.py", "offsets[row + 1][:, None]", "offsets[-1]", LABELS),
    ("perplexity by bits", "targets/frame_labels.py", "np.exp(-(share", "np.exp2(-(share", LABELS),
    ("65,536 units in two bytes", "targets/frame_labels.py", "size <= np.iinfo(np.uint16).max", "size <= np.iinfo(np.uint16).max + 1", LABELS),
    ("one batch too few was written", "targets/frame_labels.py", "start=first + 1", "start=first", LABELS),
    ("patches by columns", "targets/patches.py", "parts.permute(0, 2, 4, 1, 3, 5)", "parts.permute(0, 4, 2, 1, 3, 5)", PATCHES),
    ("pictures without brightness", "targets/patches.py", "found = found * deviation + mean", "found = found * deviation", PATCHES),
    ("MAE's eps", "targets/patches.py", "EPS = 1e-4", "EPS = 1e-6", PATCHES),
    ("the option is not kept", "targets/patches.py", '"normalise": self.normalise', '"normalise": True', PATCHES),
]
