"""Which tokens are hidden and what stands there, on 100,000 tokens and more, and against a walk."""

import pytest
import torch

from selfwise.core.rng import generator
from selfwise.core.types import TextBatch, Vocabulary
from selfwise.views.text import token_mask
from selfwise.views.text.whole_word_mask import choose_ngrams, group_words
from tests.helpers.chance import near

SPECIAL = (0, 1, 2, 3, 4)


def rows(b: int, n: int, vocab: int = 50, seed: int = 0, low: int = 5) -> TextBatch:
    ids = torch.randint(low, vocab, (b, n), generator=generator(seed, "ids"))
    return TextBatch(ids, torch.arange(b))


@pytest.mark.parametrize("share", [0.15, 0.3, 0.4])
def test_the_count_is_what_python_rounds_to(share):
    """BERT's create_pretraining_data.py: max(1, int(round(len(tokens) * masked_lm_prob)))."""
    length = torch.arange(1, 1200)
    ours = token_mask.num_to_mask(length, share)
    assert ours.tolist() == [max(1, round(n * share)) for n in range(1, 1200)]
    assert all(token_mask.max_masked(n, share) == ours[n - 1] for n in range(1, 1200))


def test_the_chosen_are_uniform_among_the_candidates():
    b, n = 4000, 30
    candidate = torch.rand(n, generator=generator(0)) < 0.6
    score = torch.rand(b, n, generator=generator(1))
    where, chosen = token_mask.choose_positions(
        candidate.expand(b, n), score, torch.full((b,), 4), 5
    )
    assert torch.equal(chosen, torch.tensor([True] * 4 + [False]).expand(b, 5))
    hits = torch.bincount(where[chosen], minlength=n)
    assert hits[~candidate].sum() == 0
    expected = 4 / int(candidate.sum())
    assert all(near(int(h) / b, b, expected) for h in hits[candidate])


def test_no_more_is_chosen_than_there_is():
    candidate = torch.tensor([[True, False, False, True], [False] * 4])
    where, chosen = token_mask.choose_positions(
        candidate, torch.rand(2, 4), torch.tensor([3, 3]), 3
    )
    assert chosen.sum(dim=1).tolist() == [2, 0]
    assert set(where[0][chosen[0]].tolist()) == {0, 3}
    assert all(len(set(row)) == 3 for row in where.tolist())


def test_padding_and_special_tokens_are_no_candidates():
    batch = rows(4, 10, low=0, seed=3)
    valid = torch.arange(10) < torch.tensor([10, 7, 3, 1])[:, None]
    found = token_mask.maskable_positions(
        batch._replace(valid=valid), token_mask.id_table(SPECIAL, 50)
    )
    assert torch.equal(found, (batch.ids >= 5) & valid)
    assert token_mask.count_valid_tokens(batch._replace(valid=valid)).tolist() == [10, 7, 3, 1]
    assert token_mask.count_valid_tokens(batch).tolist() == [10] * 4
    few = Vocabulary(5, torch.ones(5, dtype=torch.bool), (0, 2))
    assert token_mask.text_ids(few).tolist() == [1, 3, 4]


def test_what_stands_in_the_place_of_a_chosen_token():
    batch = rows(1, 6)
    where = torch.tensor([[5, 0, 3, 1]])
    chosen = torch.tensor([[True, True, True, False]])
    kind, other = torch.tensor([[0.79, 0.85, 0.95, 0.0]]), torch.tensor([[1, 2, 3, 4]])
    view = token_mask.apply_mask(batch, where, chosen, kind=kind, other=other, mask=4)
    a = batch.ids[0].tolist()
    assert view.batch.ids.tolist() == [[2, *a[1:5], 4]]
    assert view.target.tolist() == [[a[5], a[0], a[3], a[1]]]


def test_words_begin_where_the_vocabulary_says_and_behind_a_special_token():
    starts = torch.arange(50) < 30
    special = token_mask.id_table(SPECIAL, 50)
    ids = torch.tensor([[2, 31, 32, 10, 40, 3, 41, 10, 11, 3, 0, 0]])
    candidate = ~special[ids]
    found = group_words(ids, candidate, starts)
    assert found.of[candidate].tolist() == [0, 0, 1, 1, 2, 3, 4]
    assert found.size[0, :6].tolist() == [2, 2, 1, 1, 1, 0]
    # the [SEP] between words 1 and 2 parts them
    assert found.joined[0, :5].tolist() == [False, True, False, True, True]


def walk(ids, candidate, starts, *, score, draw, budget, longest) -> set[int]:
    """The papers' code: one word after the other in random order, over a list that grows."""
    groups, follows = [], []
    for place, token in enumerate(ids):
        if not candidate[place]:
            continue
        if starts[token] or not place or not candidate[place - 1]:
            groups.append([place])
            follows.append(bool(place) and candidate[place - 1])
        else:
            groups[-1].append(place)
    covered: set[int] = set()
    for word in sorted(range(len(groups)), key=lambda w: score[w]):
        grams = [groups[word]]
        while len(grams) < longest and word + len(grams) < len(groups):
            if not follows[word + len(grams)]:
                break
            grams.append(grams[-1] + groups[word + len(grams)])
        odds = [1 / i for i in range(1, 1 + len(grams))]
        n = next(i for i in range(len(grams)) if draw[word] * sum(odds) < sum(odds[: i + 1]) + 1e-9)
        while n >= 0 and len(covered) + len(grams[n]) > budget:
            n -= 1
        if n >= 0 and covered.isdisjoint(grams[n]):
            covered.update(grams[n])
    return covered


@pytest.mark.parametrize("longest", [1, 2, 3, 5])
@pytest.mark.parametrize("share", [0.15, 0.6])
def test_cover_is_the_walk_of_the_papers_code(longest, share):
    special = token_mask.id_table(SPECIAL, 50)
    for seed, n in enumerate([1, 2, 7, 20, 41, 64]):
        drawn = generator(seed, longest)
        starts = torch.rand(50, generator=drawn) < (0.4, 0.7, 1.0)[seed % 3]
        batch = rows(24, n, seed=seed, low=2)
        candidate = token_mask.maskable_positions(batch, special)
        score, draw = torch.rand(2, 24, n, generator=drawn).unbind()
        budget = token_mask.num_to_mask(token_mask.count_valid_tokens(batch), share)
        told = {"score": score, "draw": draw, "budget": budget}
        found = group_words(batch.ids, candidate, starts)
        covered = choose_ngrams(found, candidate, **told, longest=longest)
        for i in range(24):
            own = {name: value[i].tolist() for name, value in told.items()}
            ids, there = batch.ids[i].tolist(), candidate[i].tolist()
            theirs = walk(ids, there, starts.tolist(), **own, longest=longest)
            assert set(covered[i].nonzero()[:, 0].tolist()) == theirs, (n, i)


def test_far_fewer_rounds_are_needed_than_there_are(monkeypatch):
    """A GPU is not asked whether it is done; what is left after ROUNDS would stay unmasked."""
    from selfwise.views.text import whole_word_mask as module

    calls = []
    plain = module._decide_round
    monkeypatch.setattr(module, "_decide_round", lambda *a: calls.append(1) or plain(*a))
    starts, special = torch.arange(50) % 4 > 0, token_mask.id_table(SPECIAL, 50)
    batch = rows(800, 512)
    candidate = token_mask.maskable_positions(batch, special)
    score, draw = torch.rand(2, 800, 512, generator=generator(0)).unbind()
    budget = token_mask.num_to_mask(token_mask.count_valid_tokens(batch), 0.15)
    found = group_words(batch.ids, candidate, starts)
    covered = choose_ngrams(found, candidate, score=score, draw=draw, budget=budget, longest=3)
    assert len(calls) <= module.ROUNDS // 2
    assert (covered.sum(dim=1) == budget).float().mean() > 0.99


def test_n_grams_are_drawn_with_p_proportional_to_1_over_n():
    """ALBERT, equation 3, with n at most 3: 6/11, 3/11, 2/11."""
    b, n = 20_000, 9
    ids = torch.full((b, n), 10)
    everything = torch.ones(b, n, dtype=torch.bool)
    found = group_words(ids, everything, torch.ones(50, dtype=torch.bool))
    score = torch.ones(b, n)
    score[:, 3] = 0.0  # visited first, with nothing in its way
    draw = torch.rand(b, n, generator=generator(0))
    budget = torch.full((b,), 3)
    covered = choose_ngrams(found, everything, score=score, draw=draw, budget=budget, longest=3)
    # the first n-gram begins at 3; what else is covered was visited after, from 0 on
    size = covered[:, 3:6].long().cumprod(dim=1).sum(dim=1)
    assert all(
        near(float((size == i).float().mean()), b, p / 11) for i, p in ((1, 6), (2, 3), (3, 2))
    )
