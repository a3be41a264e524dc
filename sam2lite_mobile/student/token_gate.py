"""Graph `token_gate`: how much a memory token is worth keeping (methodology section 2.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sam2lite_mobile import contract


class TokenGate(nn.Module):
    """MLP 515-128-64-1 with ReLU, 74,369 parameters, over key, value, age, motion and uncertainty of each token.

    keys, values (batch, n, 256); age, motion, uncertainty (batch, n) -> scores (batch, n), higher is kept first.
    """

    def __init__(self) -> None:
        super().__init__()
        self.hidden_1 = nn.Linear(2 * contract.CHANNELS + 3, 128)
        self.hidden_2 = nn.Linear(128, 64)
        self.score = nn.Linear(64, 1)

    def forward(self, keys: Tensor, values: Tensor, age: Tensor, motion: Tensor, uncertainty: Tensor) -> Tensor:
        scalars = [x[:, :, None] for x in (age, motion, uncertainty)]
        x = torch.cat([keys, values, *scalars], -1)
        x = torch.relu(self.hidden_2(torch.relu(self.hidden_1(x))))
        return self.score(x)[:, :, 0]  # type: ignore[no-any-return]
