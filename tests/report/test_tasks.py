"""What each method shows of examples, on the page of a report."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from selfwise import methods
from selfwise.core.types import ImageBatch
from selfwise.methods import Method, inspection
from selfwise.modalities.image.targets import UnknownTargets
from selfwise.modalities.reading_options import ReadingOptions
from selfwise.report.page import page
from selfwise.report.page.parts import Picture, Section, Sheet, Strip
from selfwise.report.sections import tasks
from selfwise.report.sections.tasks_images import MAX_SIDE, encode_image
from selfwise.runs.open import Run
from tests.helpers import report_cases
from tests.helpers import report_tasks_cases as cases
from tests.helpers.patch_cases import Brightness

MOST = 600_000  # bytes of the page that the section may take


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A function: name -> a tiny run of that method, made once."""
    made: dict[str, Run] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("SELFWISE_CACHE", str(tmp_path_factory.mktemp("own")))

        def get(name: str) -> Run:
            if name not in made:
                made[name] = cases.run(name, tmp_path_factory.mktemp("runs") / name)
            return made[name]

        yield get


class Always(torch.nn.Module):
    """A head that gives one answer a score of its own, and all others 0."""

    def __init__(self, count: int, answer: int, score: float):
        super().__init__()
        self.scores = score * torch.eye(count)[answer]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scores.expand(*x.shape[:-1], -1)


def sections(run: Run, data=None, *, seed: int = 0) -> list[Section]:
    name = run.record.method
    data = cases.data(name) if data is None else data
    return tasks.build_sections(
        run, run.modality.open_examples(run, data, ReadingOptions()), seed=seed
    )


def sheet(found: list[Section]) -> list[list[Picture]]:
    (part,) = found[0].parts
    assert isinstance(part, Sheet)
    return [list(strip.pictures) for strip in part.strips]


def pixels(picture: Picture) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(picture.data)).convert("RGB")).astype(int)


# every method


@pytest.mark.parametrize("name", methods.method_names())
def test_every_method_shows_what_it_does(runs, name):
    run = runs(name)
    before = {key: value.clone() for key, value in run.method.state_dict().items()}
    found = sections(run)
    assert len(found) == 1
    assert found[0].title == "What the method does"
    assert found[0].about
    assert found[0].parts
    assert len(page.render("", found)) - len(page.render("", [])) < MOST
    again = sections(run)
    assert found == again
    assert found != sections(run, seed=1)
    assert all(torch.equal(value, before[key]) for key, value in run.method.state_dict().items())
    assert not run.method.training


@pytest.mark.parametrize("name", methods.method_names())
def test_every_method_says_what_there_is_to_see(name):
    assert methods.find_method(name).inspect is not Method.inspect


@pytest.mark.parametrize("name", ["simclr", "rotation", "roberta", "gpt", "hubert"])
def test_a_method_that_says_nothing_shows_its_views(runs, monkeypatch, name):
    run = runs(name)
    monkeypatch.setattr(type(run.method), "inspect", Method.inspect)
    found = sections(run)
    assert found[0].parts
    if name == "simclr":
        assert [p.caption for p in sheet(found)[0]] == ["original", "a", "b"]
    if name == "rotation":
        names = [p.caption for p in sheet(found)[0]]
        assert names == ["original", "x 1", "x 2", "x 3", "x 4"]


@pytest.mark.run
def test_names_and_texts_cannot_be_markup(runs):
    for name in ("supervised", "triplet_labelled", "bert", "gpt"):
        text = page.render("", sections(runs(name)))
        assert report_cases.EVIL not in text
    supervised = page.render("", sections(runs("supervised")))
    assert "&lt;img src=x onerror=alert(1)&gt;" in supervised


def test_other_seeds_draw_other_views(runs):
    run = runs("simclr")
    twins = cases.pictures(1).repeat(2, axis=0)
    first, second = (sheet(sections(run, twins, seed=seed)) for seed in (0, 1))
    assert all(a[0] == b[0] and a[1] != b[1] for a, b in zip(first, second, strict=True))


def test_other_seeds_draw_other_examples(runs):
    first, second = (sheet(sections(runs("simclr"), seed=seed)) for seed in (0, 1))
    assert {line[0].data for line in first} != {line[0].data for line in second}


# images


def test_originals_are_the_examples_as_they_are(runs):
    data = cases.pictures()
    for line in sheet(sections(runs("rotation"), data)):
        assert line[0].caption == "original"
        far = abs(data.transpose(0, 2, 3, 1).astype(int) - pixels(line[0])).max(axis=(1, 2, 3))
        assert far.min() <= 1


@pytest.mark.parametrize("answer", range(4))
def test_rotation_turns_back_what_is_answered(runs, monkeypatch, answer):
    run = runs("rotation")
    monkeypatch.setitem(run.method._modules, "head", Always(4, answer, 2.0))
    found = sections(run)
    assert "Of these 8, 2 are correct." in found[0].about
    share = f"{100 * np.exp(2) / (np.exp(2) + 3):.0f} %"
    for number, (_, turned, back) in enumerate(sheet(found)):
        assert turned.caption == f"rotated\nby {number % 4 * 90}°"
        right = number % 4 == answer
        assert back.mark == ("right" if right else "wrong")
        sign = "✓" if right else "✗"
        assert back.caption == f"rotated back\n{sign} predicted {90 * answer}°, {share}"
        # turned by a quarter counterclockwise means turned back clockwise
        assert (np.rot90(pixels(turned), -answer) == pixels(back)).all()


def test_jigsaw_puts_tiles_where_it_says_they_lie(runs, monkeypatch, rng):
    method = runs("jigsaw").method
    batch = ImageBatch(torch.from_numpy(cases.pictures(8)), torch.arange(8))
    view = method.view(batch, rng())
    label = view.label[:, 0].clone()
    label[1] = (label[1] + 1) % len(method.table)
    chosen = torch.nn.functional.one_hot(label, len(method.table)) * 9.0
    monkeypatch.setattr(method, "_scores", lambda x, order: chosen)
    puzzle, back, solution = method.inspect(view).columns
    assert back.correct.tolist() == [True, False, *[True] * 6]
    same = [torch.equal(a, b) for a, b in zip(back.images, solution.images)]
    assert same == [True, False, *[True] * 6]
    assert not torch.equal(puzzle.images[0], solution.images[0])
    count = len(view.order[0, 0])
    assert back.captions[0].startswith(f"{count} of {count} correct, 9")
    wrong = int((method.table[label[1]] == view.order[1, 0]).sum())
    assert back.captions[1].startswith(f"{wrong} of {count} correct")
    # what lies in the first place of the puzzle is the tile of that number, between white lines
    side, gap = view.x.shape[-1], 1
    first = view.x[0, view.order[0, 0, 0]]
    assert torch.equal(puzzle.images[0, :, :side, :side], first)
    assert (puzzle.images[0, :, side : side + gap] == 1).all()


def test_colours_are_guessed_from_what_is_gray(runs):
    for _, seen, guessed, true in sheet(sections(runs("colorization"))):
        gray = pixels(seen)
        assert (gray.max(axis=2) - gray.min(axis=2)).max() <= 6
        assert (pixels(true).max(axis=2) - pixels(true).min(axis=2)).max() > 30
        lightness = np.array([0.2126, 0.7152, 0.0722])
        assert abs(pixels(true) @ lightness - gray @ lightness).mean() < 40
        assert pixels(guessed).shape == gray.shape


def test_answers_have_the_names_of_their_classes(runs, monkeypatch):
    run = runs("supervised")
    monkeypatch.setitem(run.method._modules, "head", Always(4, 1, 3.0))
    found = sections(run)
    classes = run.modality.open_examples(run, cases.data("supervised"), ReadingOptions()).classes
    share = f"{100 * np.exp(3) / (np.exp(3) + 3):.0f} %"
    for original, view in sheet(found):
        name = original.caption.split("\n")[1]
        right = name == classes[1]
        assert view.caption == f"view\n{'✓' if right else '✗'} {classes[1]}\n{share}"
        assert view.mark == ("right" if right else "wrong")


def test_answers_about_other_classes_are_not_judged(runs):
    data = (cases.pictures(), np.array(["fox", "owl"])[np.arange(cases.COUNT) % 2])
    found = sections(runs("supervised"), data)
    assert "right" not in found[0].about
    for original, view in sheet(found):
        assert original.caption.split("\n")[1] in ("fox", "owl")
        assert view.mark == ""
        assert view.caption.split("\n")[1].startswith("class ")


@pytest.mark.parametrize("mining", ["hard", "semihard", "random"])
def test_negatives_are_those_of_the_loss(runs, monkeypatch, rng, mining):
    method = runs("triplet").method
    monkeypatch.setattr(method, "mining", mining)
    monkeypatch.setattr(method, "margin", 0.05)
    batch = ImageBatch(torch.from_numpy(cases.pictures(12)), torch.arange(12))
    view = method.view(batch, rng())
    anchor, positive, negative = method.inspect(view).columns
    assert torch.equal(anchor.images, view.a)
    assert torch.equal(positive.images, view.b)
    x = torch.cat([view.a, view.b])
    z = method.projection(method.encoder(x).pooled)
    z = torch.nn.functional.normalize(z, dim=1).detach()
    for row in range(12):
        near = float((z[row] - z[row + 12]).square().sum())
        assert positive.captions[row] == f"at {near:.2f}"
        others = {i: float((z[row] - z[i]).square().sum()) for i in range(24) if i % 12 != row}
        if mining == "semihard":
            others = {i: far for i, far in others.items() if near < far < near + 0.05}
        if not others:
            assert negative.captions[row] == "none"
            assert (negative.images[row] == 0.5).all()
            continue
        expected = min(others, key=others.get)  # type: ignore[arg-type]
        found = [i for i in others if torch.equal(x[i], negative.images[row])]
        assert found
        if mining != "random":
            assert others[found[0]] == pytest.approx(others[expected], abs=1e-5)
        assert negative.captions[row] == f"at {others[found[0]]:.2f}"


def test_labelled_triplets_show_each_class_once(runs):
    found = sheet(sections(runs("triplet_labelled")))
    names = [line[0].caption.split("\n")[1] for line in found]
    assert len(set(names)) == len(names) >= 2
    for original, anchor, positive, negative in found:
        own = original.caption.split("\n")[1]
        assert anchor.caption.split("\n")[1] == own
        assert positive.caption.split("\n")[1] == own
        assert negative.caption.split("\n")[1] not in (own, "")


def test_hidden_patches_are_gray_and_filled_with_the_guess(runs, monkeypatch, rng):
    method = runs("beit").method
    monkeypatch.setitem(method._modules, "head", Always(8, 5, 1.0))
    batch = ImageBatch(torch.from_numpy(cases.pictures(8)), torch.arange(8))
    view = method.view(batch, rng())
    places = torch.arange(view.chosen.shape[1])
    view = view._replace(chosen=view.chosen & (places != 2))  # of another size than its batch
    view = view._replace(target=torch.where(places == 2, 5, view.target))
    view = view._replace(covered=view.covered.scatter(1, view.where[:, 2:3], False))
    seen, fill, true, plain = method.inspect(view).columns
    fives = method.targets.decode(torch.full_like(view.covered.long(), 5), view.x)
    real = method.targets.decode(method.targets(view.x), view.x)
    covered = view.covered.unflatten(1, (4, 4)).repeat_interleave(4, 1).repeat_interleave(4, 2)
    covered = covered[:, None].expand_as(view.x)
    assert torch.equal(plain.images, view.x)
    assert torch.equal(seen.images, torch.where(covered, 0.5, view.x))
    assert torch.allclose(fill.images, torch.where(covered, fives, view.x))
    assert torch.allclose(true.images, real)
    for row in range(8):
        own = view.target[row][view.chosen[row]]
        assert fill.captions[row] == f"{int((own == 5).sum())} of {len(own)} correct"


def test_units_without_pictures_are_colours(runs, monkeypatch, rng):
    method = runs("beit").method
    monkeypatch.setattr(method, "_targets", (Brightness(),))
    batch = ImageBatch(torch.from_numpy(cases.pictures(2)), torch.arange(2))
    view = method.view(batch, rng())
    true = method.inspect(view).columns[2].images
    units = Brightness()(view.x).unflatten(1, (4, 4))
    assert true.shape == (2, 3, 4, 4)
    for unit in units.unique():
        assert len(true.movedim(1, 3)[units == unit].unique(dim=0)) == 1


def test_colours_of_units_differ():
    colors = inspection.color_units(torch.arange(500))
    assert ((colors >= 0) & (colors <= 1)).all()
    near = torch.cdist(colors[:20], colors[:20]) + 9 * torch.eye(20)
    assert near.min() > 0.1
    assert len((colors * 255).round().unique(dim=0)) > 490


@pytest.mark.parametrize("name", ["fsq", "dvae"])
def test_image_tokenizers_show_codes_and_what_they_keep(runs, rng, name):
    method = runs(name).method
    with torch.no_grad():
        batch = ImageBatch(torch.from_numpy(cases.pictures(3)), torch.arange(3))
        view = method.view(batch, rng())
        plain, codes, again = method.inspect(view).columns
        assert torch.equal(plain.images, view.x)
        assert torch.equal(again.images, method.reconstruct(view.x))
        error = (again.images - view.x).square().mean(dim=(1, 2, 3))
    assert again.captions == [f"error {one:.4f}" for one in error.tolist()]
    kinds = [len(row.unique()) for row in method.codes(view.x)]
    assert codes.captions == [f"{kind} kinds" for kind in kinds]
    assert codes.images.shape == (3, 3, 4, 4)


def test_a_run_without_its_units_says_so(runs, monkeypatch):
    run = runs("beit")
    monkeypatch.setattr(run.method, "_targets", (UnknownTargets(8),))
    (found,) = sections(run)
    assert "imported without its image tokenizer" in found.about
    assert not found.parts


def test_large_pictures_become_small():
    found = encode_image(torch.rand(3, 300, 150), "")
    assert found.form == "jpeg"
    assert Image.open(io.BytesIO(found.data)).size == (MAX_SIDE // 2, MAX_SIDE)
    exact = torch.rand(1, 12, 12)
    assert encode_image(exact, "").form == "png"
    assert (pixels(encode_image(exact, ""))[..., 0] == (exact[0] * 255).round().numpy()).all()


@pytest.mark.run
def test_data_without_labels_or_with_a_single_image_are_told(runs):
    for name in ("supervised", "triplet_labelled"):
        (found,) = sections(runs(name), cases.pictures())
        assert "these data have none" in found.about
        assert not found.parts
    (found,) = sections(runs("simclr"), cases.pictures(1))
    assert "there is only one" in found.about
    assert len(sheet(sections(runs("rotation"), cases.pictures(1)))) == 1
    few = (cases.pictures(3), np.array(["a", "b", "c"]))
    (found,) = sections(runs("triplet_labelled"), few)
    assert "class 'a' has 1 image, but --images-per-identity is 4" in found.about


def test_pages_mark_answers_and_halve_dense_pictures():
    made = Image.new("RGB", (200, 100))
    file = io.BytesIO()
    made.save(file, "png")
    dense = Picture(file.getvalue(), "png", "seen", density=2)
    strip = Strip([dense._replace(mark="right"), dense._replace(mark="wrong")])
    text = page.render("", [Section("", "", [dense, Sheet([strip])])])
    assert text.count('width="100" height="50"') == 3
    assert text.count('<li class="good">') == text.count('<li class="bad">') == 1
