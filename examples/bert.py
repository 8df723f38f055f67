"""Masked language modelling with a small BERT, with the training loop in sight.

`python examples/bert.py` learns from the reference topics of Python's own help: a share of the
tokens is masked, and the encoder predicts them (arXiv:1810.04805, section 3.1).
"""

from pydoc_data.topics import topics

import torch

from selfwise import encoders, losses, views
from selfwise.nn.mlm_head import MaskedLMHead
from selfwise.tokenizers.train import add_special_tokens, train_wordpiece

STEPS, BATCH, LENGTH = 200, 32, 64


def tokenize(texts: list[str]) -> tuple[torch.Tensor, dict[str, int]]:
    """Rows of LENGTH token ids, and the vocabulary."""
    tokenizer = add_special_tokens(train_wordpiece(texts, 2000, lower=True), ["[MASK]"])
    ids = torch.tensor([i for text in texts for i in tokenizer.encode(text).ids])
    return ids[: len(ids) // LENGTH * LENGTH].reshape(-1, LENGTH), tokenizer.get_vocab()


def main() -> None:
    rows, vocabulary = tokenize([topics[name] for name in sorted(topics)])
    size, mask = len(vocabulary), vocabulary["[MASK]"]
    special = tuple(i for token, i in vocabulary.items() if token.startswith("["))

    torch.manual_seed(0)
    encoder = encoders.build_text_encoder("bert-tiny", vocab=size, length=LENGTH, seed=0)
    head = MaskedLMHead(encoder.dim, encoder.dim, size)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=2e-3)
    for step in range(STEPS):
        ids = rows[torch.randint(len(rows), (BATCH,))]
        view = views.mask_tokens(ids, mask=mask, vocab_size=size, special=special, seed=step)
        hidden = encoder.forward_at(view.batch, view.where).flatten(0, 1)
        logits = head(hidden, encoder.token.weight)
        target, chosen = view.target.flatten(), view.chosen.flatten()
        loss = losses.masked_cross_entropy(logits, target, chosen) / chosen.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 20 == 0 or step == STEPS - 1:
            correct = losses.count_correct(logits, target, chosen) / chosen.sum()
            print(f"step {step}: loss {loss.item():.3f}, right {100 * correct.item():.1f} %")


if __name__ == "__main__":
    main()
