"""Tickets of a language model from Hugging Face's Trainer: a tiny Llama learns to continue sequences.

Nothing is downloaded. Needs `pip install transformers accelerate`.
Run: python examples/hugging_face_trainer.py [FOLDER]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

import lottery_pools as lp

TOKENS, LENGTH = 16, 24


def sequences(n: int, seed: int) -> list[dict[str, Tensor]]:
    """n sequences in which each token follows from the two before it, but for one in ten, which is random."""
    draws = torch.Generator().manual_seed(seed)
    tokens = [torch.randint(TOKENS, (n,), generator=draws) for _ in range(2)]
    while len(tokens) < LENGTH:
        random = torch.randint(TOKENS, (n,), generator=draws)
        follows = (tokens[-1] + tokens[-2]) % TOKENS
        tokens.append(torch.where(torch.rand(n, generator=draws) < 0.1, random, follows))
    return [{"input_ids": sequence, "labels": sequence} for sequence in torch.stack(tokens, 1)]


def main(folder: Path | None = None) -> None:
    """Four tickets; the second is strengthened; the perplexity before and after on held-out sequences."""
    training, validation = sequences(256, 1), torch.stack([line["input_ids"] for line in sequences(200, 2)])
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=TOKENS, num_attention_heads=2, num_key_value_heads=2, **sizes))

    def fit(model: nn.Module, steps: int) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            arguments = TrainingArguments(
                scratch, max_steps=steps, per_device_train_batch_size=32, learning_rate=1e-2, save_strategy="no",
                report_to="none", disable_tqdm=True, logging_strategy="no", use_cpu=True,
            )  # fmt: skip
            Trainer(model, arguments, train_dataset=training).train()

    def score(model: nn.Module) -> Tensor:
        """The mean log-probability of the tokens of each sequence, (n,)."""
        logits = model.eval()(input_ids=validation).logits[:, :-1]
        return -nn.functional.cross_entropy(logits.mT, validation[:, 1:], reduction="none").mean(1)

    tickets = lp.imp(
        lambda model, mask, level: fit(model, 80), model, levels=3, rate=0.3,
        rewind=lambda model: fit(model, 20), prunable="model.layers.*proj.weight", folder=folder,
    )  # fmt: skip
    pooled = lp.pool(model, tickets, 1, score)
    print(f"density {pooled.ticket.density:.3f}, as the ticket's {tickets[1].density:.3f}")
    print(f"recipe {list(pooled.recipe)}")
    before, after = (float(torch.tensor(-value).exp()) for value in (pooled.target_score, pooled.score))
    print(f"perplexity: ticket {before:.3f}, pooled {after:.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
