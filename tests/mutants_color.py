"""Bugs in colorization: (name, file, old, new, tests), for tests/mutants.py."""

LAB, COLOR = "tests/facts/test_lab.py", "tests/facts/test_colorization.py"
RUNS = "tests/test_colorization_runs.py"

# fmt: off
# ruff: noqa: E501
MUTANTS = [
    # colours
    ("a square root in Lab", "nn/lab.py", ".pow(1 / 3), 7.787", ".pow(1 / 2), 7.787", LAB),
    ("Lab without the screen's gamma", "nn/lab.py", "((x + 0.055) / 1.055).pow(2.4)", "((x + 0.055) / 1.055).pow(2.2)", LAB),
    ("blue counts as red in Lab", "nn/lab.py", "(0.019334, 0.119193, 0.950227)", "(0.119193, 0.019334, 0.950227)", LAB),
    ("black has no slope in Lab", "nn/lab.py", "x.clamp_min(KNEE).pow(1 / 3)", "x.pow(1 / 3)", LAB),
    # bins
    ("bins ascend by b", "nn/gamut.py", "for b in range(low, high + 1, GRID)]", "for b in range(high, low - 1, -GRID)]", LAB),
    ("a bin too few", "nn/gamut.py", "100: (-90, 0),", "100: (-90, -10),", LAB),
    ("a Gaussian of the wrong width in the encoding", "nn/gamut.py", "-found.values / (2 * SIGMA**2)", "-found.values / SIGMA**2", LAB),
    ("too few candidates for the nearest bins", "nn/gamut.py", "int((ordered <= reach).sum(dim=1).max())", "neighbours", LAB),
    ("candidates of the cell beside", "nn/gamut.py", "+ CELL / 2", "- CELL / 2", LAB),
    ("the prior leaks out of the gamut", "nn/gamut.py", "F.softmax(-distance.square() / (2 * SIGMA**2), dim=0)", "F.softmax(-distance.square() / (2 * SIGMA**2), dim=1)", LAB),
    ("rarity is not scaled", "nn/gamut.py", "(weight / (p * weight).sum())", "(weight / weight.mean())", LAB),
    ("the uniform part is Q times too large", "nn/gamut.py", "uniform / BINS)", "uniform)", LAB),
    ("the temperature multiplies", "nn/gamut.py", "F.softmax(wide / temperature, dim=-1)", "F.softmax(wide * temperature, dim=-1)", LAB),
    ("colours are averaged over their squares", "nn/gamut.py", "    return x[:, :, first[0]", "    x = F.avg_pool2d(x, 3, 1, 1)\n    return x[:, :, first[0]", LAB),
    ("an image is gray if one pixel is", "nn/gamut.py", ".flatten(1).any(dim=1)", ".flatten(1).all(dim=1)", LAB),
    # the method
    ("the encoder sees colours", "encoders/vision.py", "x = lightness(x) / 100 if", "x = x[:, :1] if", COLOR),
    ("lightness of 0 to 100 goes into the encoder", "encoders/vision.py", "lightness(x) / 100", "lightness(x)", COLOR),
    ("gray images are guessed too", "methods/colorization.py", "weight, colored(ab))", "weight, colored(ab) | True)", COLOR),
    ("a batch without colours is divided by nothing", "methods/colorization.py", ".clamp_min(FEW)", "", COLOR),
    ("rarity of the farthest bin", "methods/colorization.py", "bins[..., 0].flatten()", "bins[..., -1].flatten()", COLOR),
    ("no pixel counts more than another", "methods/colorization.py", "(nats * view.weight.flatten())", "(nats * view.weight.mean())", COLOR),
    ("the metric has weights", "methods/colorization.py", "Term(nats.detach().sum(), count)", "Term(loss.detach(), count)", COLOR),
    ("colours of the mean and not of the annealed mean", "methods/colorization.py", "self.head(self._maps(x)), TEMPERATURE)", "self.head(self._maps(x)) * 0, TEMPERATURE)", COLOR),
    ("the first maps and not the last", "methods/colorization.py", "[-self.stages :]", "[: self.stages]", COLOR),
    ("a map is read column by column", "nn/dense.py", "features.tokens.mT.unflatten(2, features.grid)", "features.tokens.mT.unflatten(2, features.grid).mT", COLOR),
    ("the gradient forgets the shares", "losses.py", "- of.to(wide.dtype)", "- 1 / own.shape[1]", COLOR),
    ("gray images are in the prior", "evaluate/colors.py", "ab = ab[colored(ab)]", "ab = ab[colored(ab) | True]", COLOR),
    ("gray images are in the error of colours", "evaluate/pictures.py", "torch.where(real, f, 0.0)", "f", COLOR),
    ("the picture shows the truth twice", "evaluate/pictures.py", "(gray.cpu(), guess.cpu(), x.cpu())", "(gray.cpu(), x.cpu(), x.cpu())", COLOR),
    # runs
    ("the prior is not kept", "modalities/image.py", "self.kept.keep(folder)", "None", RUNS),
    ("the prior is counted anew on a resume", "modalities/image_colors.py", "if folder is not None:\n        return load(folder)", "if folder is not None and not images:\n        return load(folder)", RUNS),
    ("the prior of a file is smoothed again", "modalities/image_colors.py", "ImageColors(torch.from_numpy(told),", "ImageColors(smoothed(torch.from_numpy(told)),", RUNS),
    ("the prior is not smoothed", "modalities/image_colors.py", "smoothed(counts).float()", "(counts / counts.sum()).float()", RUNS),
    ("the untrained twin sees colours", "arguments.py", "return {**kind.encoder_options, **encoder,", "return {**encoder,", RUNS),
    ("units of a colorization lose its prior", "modalities/image_units.py", "        shutil.copy(source / image_colors.FILE, half)\n", "        pass\n", RUNS),
]
# fmt: on
