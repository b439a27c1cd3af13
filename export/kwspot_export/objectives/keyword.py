"""What a keyword student is asked: a loss over output frames.

Letters in shapes: B windows, U output frames, K = 1 keyword. Targets are int8 (B, U): 1 where the
keyword may be reported, 0 where it must not be, -1 where neither is asked.
"""

import torch
from torch import Tensor
from torch.nn import functional

POSITIVE_WEIGHT = 2.0  # a window with the keyword has about 12 frames of it among 60
HARDEST = 4  # frames of a window (160 ms) that stand for its worst moment


def frame_cross_entropy(logits: Tensor, target: Tensor, certain: Tensor) -> Tensor:
    """Binary cross-entropy of every frame that is asked: (B, U), (B, U), (B,) -> scalar.

    Windows in which the end of the word is uncertain count with their negative frames only.
    """
    positive = (target == 1) & certain[:, None]
    negative = target == 0
    loss = functional.binary_cross_entropy_with_logits(
        logits, (target == 1).to(logits), reduction="none"
    )
    weight = positive * POSITIVE_WEIGHT + negative
    return (loss * weight).sum() / weight.sum()


def max_pooling(logits: Tensor, target: Tensor) -> Tensor:
    """Max-pooling loss over time (Sun et al. 2016, arXiv 1705.02411): (B, U), (B, U) -> scalar.

    A window with the keyword needs one high stretch where the keyword may be reported; the hardest
    frames where it must not be reported are pushed down in every window.
    """
    low = torch.finfo(logits.dtype).min
    spoken = (target == 1).any(dim=1)
    # Two frames in a row, or the smoothing of the runtime would undo a lone spike.
    pairs = 0.5 * (logits[:, 1:] + logits[:, :-1])
    both = (target[:, 1:] == 1) & (target[:, :-1] == 1)
    best = pairs.masked_fill(~both, low).amax(dim=1)
    hit = functional.softplus(-best[spoken]).sum()
    worst = logits.masked_fill(target != 0, low).topk(HARDEST, dim=1).values
    alarm = functional.softplus(worst).mean(dim=1).sum()
    return (POSITIVE_WEIGHT * hit + alarm) / len(logits)
