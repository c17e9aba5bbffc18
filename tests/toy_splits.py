"""The toy world cut for the comparisons' tests, for models that match and for models that choose."""

from expunge.core.types import Splits
from toy import Toy, ToyAnswers, labelled, people, scenes

SPLITS = Splits(labelled(people("f", 3)), labelled(people("r", 4) + scenes("s", 4)), labelled(scenes("h", 3)))
KINDS = (Toy, ToyAnswers)


def fresh(kind):
    """In evaluation mode, as models are given to methods."""
    model = kind()
    model.module.eval()
    return model


def gradients(model, terms, names=None):
    """Of the sum of some terms, by parameter name."""
    model.module.zero_grad()
    sum(v for k, v in terms.items() if names is None or k in names).backward()
    return {k: p.grad for k, p in model.module.named_parameters() if p.grad is not None}


def largest(gradients):
    return max((g.abs().max().item() for g in gradients.values()), default=0.0)
