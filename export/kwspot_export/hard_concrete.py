"""Hard-concrete gates: random factors in [0, 1] that learn to be exactly 0 or 1.

Louizos, Welling and Kingma 2018 (arXiv 1712.01312), with the constants and the choice at the end of
DPHuBERT's published code (arXiv 2305.17651).
"""

from math import log

import torch
from torch import Tensor, nn

BETA = 2 / 3  # temperature
STRETCH = 0.1  # beyond both ends of [0, 1], so that clamping gives exact zeros and ones
# P(z > 0) = sigmoid(a + OPEN_SHIFT)
OPEN_SHIFT = -BETA * log(STRETCH / (1 + STRETCH))
SMALLEST = 1e-6  # of u, lest its logarithm be infinite
INITIAL_SPREAD = 0.01  # of a, so that equal units part


class HardConcrete(nn.Module):
    """One gate for each of `units`: calling it gives their factors z (units,).

    In training mode u ~ U(0, 1), s = sigmoid((log(u / (1 - u)) + a) / beta), and z is
    (1 + 2 stretch) s - stretch clamped to [0, 1]. In evaluation mode z is `settled()`.

    All randomness comes from `generator`, on the CPU whatever the device of the gates: equal seeds
    give equal gates, and a checkpoint needs its `get_state()` beside the module's state.
    """

    def __init__(
        self, units: int, generator: torch.Generator, dropped: float = 0.01, least: int = 0
    ) -> None:
        """Start with a share `dropped` of s below 1/2; never settle on fewer than `least` units."""
        super().__init__()
        self.generator, self.least = generator, least
        a = log((1 - dropped) / dropped) + INITIAL_SPREAD * torch.randn(units, generator=generator)
        self.log_alpha = nn.Parameter(a)

    def forward(self) -> Tensor:
        """Draw z (units,), or give what it settles on in evaluation mode."""
        if not self.training:
            return self.settled()
        a = self.log_alpha
        u = torch.rand(len(a), generator=self.generator).clamp(SMALLEST, 1 - SMALLEST).to(a)
        s = torch.sigmoid((torch.logit(u) + a) / BETA)
        return ((1 + 2 * STRETCH) * s - STRETCH).clamp(0, 1)

    def open_probability(self) -> Tensor:
        """P(z > 0) of each unit (units,), differentiable."""
        return torch.sigmoid(self.log_alpha + OPEN_SHIFT)

    def expected(self) -> Tensor:
        """Expected number of units whose gate is not 0, differentiable: a scalar."""
        return self.open_probability().sum()

    def kept(self) -> Tensor:
        """Units that stay (units,) as booleans: as many as expected, the likeliest first."""
        count = max(round(self.expected().item()), self.least)
        kept = torch.zeros(len(self.log_alpha), dtype=torch.bool, device=self.log_alpha.device)
        kept[self.log_alpha.topk(count).indices] = True
        return kept

    def settled(self) -> Tensor:
        """The factors at the end (units,), without noise: sigmoid(0.8 a / beta) where kept, else 0.

        As in the published code. Louizos' own clamp(1.2 sigmoid(a) - 0.1) would be 0 for units that
        are open in up to 3 draws of 10, fewer would be kept than expected, and the size be missed.
        """
        return torch.sigmoid(0.8 * self.log_alpha / BETA) * self.kept()
