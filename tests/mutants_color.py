"""Bugs in colorization: (name, file, old, new, tests), for tests/mutants.py."""

LAB, COLOR = "tests/views/image/test_color_space.py", "tests/methods/test_colorization.py"
RUNS = "tests/runs/test_colorization.py"

# fmt: off
# ruff: noqa: E501
MUTANTS = [
    # colours
    ("a square root in Lab", "views/image/color_space.py", ".pow_(1 / 3), (7.787", ".pow_(1 / 2), (7.787", LAB),
    ("Lab without the screen's gamma", "views/image/color_space.py", ".pow_(2.4)", ".pow_(2.2)", LAB),
    ("blue counts as red in Lab", "views/image/color_space.py", "(0.019334, 0.119193, 0.950227)", "(0.119193, 0.019334, 0.950227)", LAB),
    ("black has no slope in Lab", "views/image/color_space.py", "x.clamp_min(KNEE).pow_(1 / 3)", "x.pow(1 / 3)", LAB),
    # bins
    ("bins ascend by b", "views/image/color_bins.py", "for b in range(low, high + 1, GRID)]", "for b in range(high, low - 1, -GRID)]", LAB),
    ("a bin too few", "views/image/color_bins.py", "100: (-90, 0),", "100: (-90, -10),", LAB),
    ("a Gaussian of the wrong width in the encoding", "views/image/color_bins.py", "div_(-2 * SIGMA**2)", "div_(-(SIGMA**2))", LAB),
    ("too few candidates for the nearest bins", "views/image/color_bins.py", "int((ordered <= reach).sum(dim=1).max())", "neighbours", LAB),
    ("candidates of the cell beside", "views/image/color_bins.py", "+ CELL / 2", "- CELL / 2", LAB),
    ("the prior leaks out of the gamut", "views/image/color_bins.py", "F.softmax(-distance.square() / (2 * SIGMA**2), dim=0)", "F.softmax(-distance.square() / (2 * SIGMA**2), dim=1)", LAB),
    ("rarity is not scaled", "views/image/color_bins.py", "(weight / (p * weight).sum())", "(weight / weight.mean())", LAB),
    ("the uniform part is Q times too large", "views/image/color_bins.py", "uniform / BINS)", "uniform)", LAB),
    ("the temperature multiplies", "views/image/color_bins.py", "F.softmax(wide / temperature, dim=-1)", "F.softmax(wide * temperature, dim=-1)", LAB),
    ("colours are averaged over their squares", "views/image/color_bins.py", "    return x[:, :, first[0]", "    x = F.avg_pool2d(x, 3, 1, 1)\n    return x[:, :, first[0]", LAB),
    ("an image is gray if one pixel is", "views/image/color_bins.py", ".flatten(1).any(dim=1)", ".flatten(1).all(dim=1)", LAB),
    # the method
    ("the encoder sees colours", "encoders/image.py", "x = lightness(x) / 100 if", "x = x[:, :1] if", COLOR + "::test_the_encoder_sees_the_lightness_alone"),
    ("lightness of 0 to 100 goes into the encoder", "encoders/image.py", "lightness(x) / 100", "lightness(x)", COLOR + "::test_the_encoder_sees_the_lightness_alone"),
    ("gray images are guessed too", "methods/colorization.py", "weight, colored(ab))", "weight, colored(ab) | True)", COLOR + "::test_gray_images_are_left_out_of_the_loss"),
    ("a batch without colours is divided by nothing", "methods/colorization.py", ".clamp_min(FEW)", "", COLOR + "::test_a_batch_without_colors_has_no_loss_and_no_gradient"),
    ("rarity of the farthest bin", "methods/colorization.py", "bins[..., 0].flatten()", "bins[..., -1].flatten()", COLOR + "::test_a_pixel_counts_as_its_nearest_bin_is_rare"),
    ("no pixel counts more than another", "methods/colorization.py", "(nats * view.weight.flatten())", "(nats * view.weight.mean())", COLOR + "::test_the_loss_against_a_double_loop"),
    ("the metric has weights", "methods/colorization.py", "Term(nats.detach().sum(), count)", "Term(loss.detach(), count)", COLOR + "::test_the_loss_against_a_double_loop"),
    ("colours of the mean and not of the annealed mean", "methods/colorization.py", "self.head(self._maps(x)), TEMPERATURE)", "self.head(self._maps(x)) * 0, TEMPERATURE)", COLOR + "::test_colors_are_the_annealed_mean_enlarged"),
    ("the first maps and not the last", "methods/colorization.py", "[-self.stages :]", "[: self.stages]", COLOR + "::test_finer_maps_are_read_too"),
    ("a map is read column by column", "nn/dense_head.py", "features.tokens.mT.unflatten(2, features.grid)", "features.tokens.mT.unflatten(2, features.grid).mT", COLOR + "::test_the_head_guesses_where_the_map_is"),
    ("the gradient forgets the shares", "losses/cross_entropy.py", "- of.to(wide.dtype)", "- 1 / own.shape[1]", COLOR + "::test_the_gradient_of_soft_cross_entropy"),
    ("gray images are in the prior", "evaluation/features/color_counts.py", "ab = ab[colored(ab)]", "ab = ab[colored(ab) | True]", COLOR + "::test_the_prior_counts_the_pixels_that_are_guessed"),
    ("gray images are in the error of colours", "evaluation/monitors/pictures.py", "torch.where(real, f, 0.0)", "f", COLOR + "::test_the_picture_shows_gray_guessed_and_true"),
    ("the picture shows the truth twice", "evaluation/monitors/pictures.py", "(gray.cpu(), guess.cpu(), x.cpu())", "(gray.cpu(), x.cpu(), x.cpu())", COLOR + "::test_the_picture_shows_gray_guessed_and_true"),
    # runs
    ("the prior is not kept", "modalities/image.py", "self.kept.keep(folder)", "None", RUNS + "::test_the_run_folder_says_what_was_seen_and_counted"),
    ("a kept prior is divided by its sum again", "modalities/image_colors.py", "torch.from_numpy(_read(folder / FILE))", "torch.from_numpy(_read(folder / FILE) / _read(folder / FILE).sum())", RUNS + "::test_a_run_goes_on_as_if_it_had_not_stopped"),
    ("the prior of a file is smoothed again", "modalities/image_colors.py", "ImageColors(torch.from_numpy(told),", "ImageColors(smoothed(torch.from_numpy(told)),", RUNS + "::test_a_prior_of_a_file_is_taken_as_it_is"),
    ("the prior is not smoothed", "modalities/image_colors.py", "smoothed(counts).float()", "(counts / counts.sum()).float()", RUNS + "::test_the_prior_is_a_function_of_the_images"),
    ("the untrained twin sees colours", "runs/arguments.py", "return {**kind.encoder_options, **encoder,", "return {**encoder,", RUNS + "::test_the_run_folder_says_what_was_seen_and_counted"),
    ("units of a colorization lose its prior", "modalities/image_units.py", "        shutil.copy(source / image_colors.FILE, half)\n", "        pass\n", RUNS + "::test_units_may_be_clusters_of_what_a_colorization_has_learned"),
]
# fmt: on
