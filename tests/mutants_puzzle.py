"""Bugs in rotation and jigsaw: (name, file, old, new, tests), for tests/mutants.py."""

ROTATION, JIGSAW = "tests/methods/test_rotation.py", "tests/methods/test_jigsaw.py"
SHORTCUTS = "tests/methods/test_jigsaw_shortcuts.py"
PERMUTATIONS = "tests/views/image/test_permutations.py"

# fmt: off
# ruff: noqa: E501
MUTANTS = [
    # rotation
    ("images turn the other way", "views/image/tiles.py",
     "torch.rot90(x, turn, (2, 3))", "torch.rot90(x, -turn, (2, 3))", ROTATION),
    ("labels of other turns", "methods/rotation.py",
     "view.label.flatten())", "view.label.mT.flatten())", ROTATION),
    ("no shift to the last pixel", "views/image/window.py",
     "rng.integers(2 * self.by + 1, len(batch.x), 2)", "rng.integers(2 * self.by, len(batch.x), 2)", ROTATION),
    ("down and across by the same", "views/image/window.py",
     "(row * width + corner[:, 1:])", "(row * width + corner[:, :1])", ROTATION),
    ("small images are cropped", "methods/rotation.py",
     "if crop is None and size <= SMALL", "if crop is None and size < SMALL", ROTATION),
    ("all are flipped or none", "views/image/window.py",
     "view.index_select(0, mirrored).flip(3)", "view.index_select(0, mirrored)", ROTATION),
    # permutations
    ("the nearest order is chosen", "views/image/permutations.py",
     "agreement.argmin()", "agreement.argmax()", PERMUTATIONS),
    ("an order is chosen twice", "views/image/permutations.py",
     "agreement[best] = TAKEN", "pass", PERMUTATIONS),
    ("the least distance is to the last alone", "views/image/permutations.py",
     "np.maximum(agreement, same, out=agreement)", "agreement[:] = same", PERMUTATIONS),
    ("distances of a few are not compared", "views/image/permutations.py",
     "ones[start:].T", "ones[start : start + 512].T", PERMUTATIONS),
    ("a damaged file is taken", "views/image/permutations.py",
     "return found if whole and len(np.unique(found, axis=0)) == len(found) else None", "return found", PERMUTATIONS),
    ("another rule has the same file", "views/image/permutations.py",
     "{rule}-{tiles}-", "{tiles}-", PERMUTATIONS),
    ("half a file is left behind", "core/files.py",
     "        _remove(temporary)\n        raise", "        raise", PERMUTATIONS),
    # tiles
    ("the jitter leaves out the last place", "views/image/tiles.py",
     "rng.integers(room + 1, n", "rng.integers(max(1, room), n", JIGSAW),
    ("channels leave the cell", "views/image/tiles.py",
     "(tile + channel).clamp_(0, room)", "(tile + channel).clamp_(0)", JIGSAW),
    ("channels move to one side", "views/image/tiles.py",
     "channels, 2) - shift", "channels, 2)", JIGSAW),
    ("cells begin at the corner", "views/image/tiles.py",
     "(size - cell * grid) // 2 + cell", "cell", JIGSAW),
    ("tiles lie column by column", "views/image/tiles.py",
     "plane + first[..., 0] * size + first[..., 1]", "plane + first[..., 1] * size + first[..., 0]", JIGSAW),
    ("all tiles have the image's mean", "views/image/tiles.py",
     "pixels.mean(dim=3, keepdim=True)", "pixels.mean(dim=(1, 3), keepdim=True)", SHORTCUTS),
    ("contrast stays", "views/image/tiles.py",
     "centred.mul_(0.25 / deviation)", "centred", SHORTCUTS),
    ("a flat tile divides by nothing", "views/image/tiles.py",
     ".sqrt_().clamp_min_(NOISE)", ".sqrt_()", JIGSAW),
    # the method
    ("colours stay", "methods/jigsaw.py",
     "x.index_copy_(0, which, grayscale(x.index_select(0, which)))", "pass", SHORTCUTS),
    ("gray images get coloured edges", "methods/jigsaw.py",
     "torch.where(gray.view(n, 1, 1, 1), corner[:, :, :1], corner)", "corner", SHORTCUTS),
    ("channels are never moved", "methods/jigsaw.py",
     "self.shift = min(", "self.shift = 0 * min(", SHORTCUTS),
    ("tiles without gaps", "methods/jigsaw.py",
     "min(ceil(TILE * cell), cell - 1) // step * step", "cell", SHORTCUTS),
    ("the window is always in the middle", "views/image/window.py",
     "(place[:, :2] * (real - side + 1)).floor()", "((real - side) / 2).floor().expand(-1, 2)", JIGSAW),
    ("every window has the least side", "views/image/window.py",
     "share = self.least + (1 - self.least) * place[:, 3:]", "share = self.least", JIGSAW),
    ("tiles of the first image for all", "methods/jigsaw.py",
     "(first + order)", "(0 * first + order)", JIGSAW),
    ("the head reads the inverse order", "methods/jigsaw.py",
     "self.table[label].long()", "self.table[label].long().argsort(dim=2)", JIGSAW),
    ("the orders are not saved", "methods/jigsaw.py",
     "chosen.astype(np.uint8)))", "chosen.astype(np.uint8)), persistent=False)", JIGSAW),
    ("the encoder is left in evaluation mode", "methods/jigsaw.py",
     "part.training = training", "pass", JIGSAW),
]
# fmt: on
