"""A small head that tells a region's own images from made-up foreign ones, on features that it leaves as they are."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_WIDTH = 32


class ForeignHead(nn.Module):
    """Scores how foreign an image looks, from where things lie and not only from what is there.

    Means over an image do not see that it is turned, so the places are kept until the last layer. It learns from own
    images against distorted and synthetic ones (outlier exposure: Hendrycks, Mazeika, Dietterich, 2019).

    Args:
        early: channels of the early level, (N, early, 2 h, 2 w).
        last: channels of the last level, (N, last, h, w).
        side: h = w.
    """

    def __init__(self, early: int, last: int, side: int) -> None:
        super().__init__()
        self.early = nn.Conv2d(early, _WIDTH, kernel_size=4, stride=2, padding=1)
        self.last = nn.Conv2d(last, _WIDTH, kernel_size=1)
        self.join = nn.Conv2d(2 * _WIDTH, 2 * _WIDTH, kernel_size=3, padding=1)
        self.shrink = nn.Conv2d(2 * _WIDTH, _WIDTH, kernel_size=3, stride=2, padding=1)
        self.hidden = nn.Linear(_WIDTH * ((side + 1) // 2) ** 2, 2 * _WIDTH)
        self.score = nn.Linear(2 * _WIDTH, 1)

    def logit(self, early: Tensor, last: Tensor) -> Tensor:
        """Return (N, 1): above 0 foreign is likelier than own."""
        joined = torch.cat([self.early(early), self.last(last)], dim=1).relu()
        places = self.shrink(self.join(joined).relu()).relu()
        logit: Tensor = self.score(self.hidden(places.flatten(1)).relu())
        return logit.float()

    def forward(self, early: Tensor, last: Tensor) -> Tensor:
        """Return (N, 1) >= 0: the softplus of the logit, near 0 on own images, so that only one side is odd."""
        return F.softplus(self.logit(early, last))
