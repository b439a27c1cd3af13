"""S3RL: dual-view cross-correlation and the teacher's codebook.

Yang, Gu, Tang, Du, Liu: «On-Device Constrained Self-Supervised Speech Representation Learning for
Keyword Spotting via Knowledge Distillation», Interspeech 2023, arXiv 2307.02720.

Letters in shapes: b utterances of a batch, d dimensions that student and teacher share, U outputs,
D width of a code.
"""

import torch
from numpy.random import Generator
from torch import Tensor
from torch.nn import functional

OFF_DIAGONAL = 5e-3  # alpha and beta: weight of what should not correlate


def feature_view(teacher: Tensor, student: Tensor, alpha: float = OFF_DIAGONAL) -> Tensor:
    """L_C = sum_i (C_ii - 1)^2 + alpha sum_(i!=j) C_ij^2 with C (d, d): (b, d) twice -> scalar.

    C correlates dimensions over the utterances of the batch. Means over the batch are subtracted
    first. Needs b >= d to tell dimensions apart; 0 where the student has the teacher's whitened
    features.
    """
    correlation = _unit(teacher, dim=0).T @ _unit(student, dim=0)
    return _off_identity(correlation, alpha)


def batch_view(teacher: Tensor, student: Tensor, beta: float = OFF_DIAGONAL) -> Tensor:
    """L_G = sum_i (G_ii - 1)^2 + beta sum_(i!=j) G_ij^2 with G (b, b): (b, d) twice -> scalar.

    G correlates utterances over dimensions. Without subtracting the batch's mean the common part of
    all utterances hides their differences: the diagonal stalls below 0.5.
    """
    similarity = _unit(teacher, dim=1) @ _unit(student, dim=1).T
    return _off_identity(similarity, beta)


def balanced(loss: Tensor) -> Tensor:
    """L / sg(L): 1 in value, with the gradient of log L, so that views of any scale weigh alike."""
    return loss / loss.detach().clamp_min(torch.finfo(loss.dtype).tiny)


def codebook(predicted: Tensor, codes: Tensor, masked: Tensor, temperature: float = 0.1) -> Tensor:
    """L_tcode: contrastive prediction of the teacher's quantised vectors where input was masked.

    predicted (b, U, D), codes (b, U, D), masked (b, U) bool -> scalar. At each masked output the
    code there is the positive, the codes of the utterance's other masked outputs are the negatives
    (wav2vec 2.0, Baevski et al. 2020, equation 3); a negative equal to the positive does not count.
    0 where nothing is masked.
    """
    similarity = torch.einsum(
        "btd,bsd->bts", functional.normalize(predicted, dim=-1), functional.normalize(codes, dim=-1)
    )
    low = torch.finfo(similarity.dtype).min
    same = torch.cdist(codes, codes) < 1e-4 * codes.norm(dim=-1).mean()
    itself = torch.eye(codes.shape[1], dtype=torch.bool, device=codes.device)
    allowed = (masked[:, None, :] & ~same) | itself
    logits = (similarity / temperature).masked_fill(~allowed, low)
    loss = -torch.diagonal(logits.log_softmax(dim=-1), dim1=1, dim2=2)
    return (loss * masked).sum() / masked.sum().clamp_min(1)


def draw_masks(shape: tuple[int, int], start_share: float, span: int, rng: Generator) -> Tensor:
    """Draw wav2vec 2.0's masks: spans of `span` outputs that begin anywhere -> bool (b, U)."""
    starts = torch.from_numpy(rng.random(shape) < start_share)
    masked = torch.zeros(shape, dtype=torch.bool)
    for shift in range(span):
        masked[:, shift:] |= starts[:, : shape[1] - shift]
    return masked


def _unit(x: Tensor, dim: int) -> Tensor:
    """Subtract the batch's mean, then scale to length 1 along `dim`."""
    return functional.normalize(x - x.mean(dim=0), dim=dim)


def _off_identity(matrix: Tensor, off_diagonal: float) -> Tensor:
    diagonal = torch.diagonal(matrix)
    rest = matrix.square().sum() - diagonal.square().sum()
    return (diagonal - 1).square().sum() + off_diagonal * rest
