"""What Keras does otherwise than torch, for the networks whose originals were written in it."""

from __future__ import annotations

from torch import nn

EPSILON = 1e-3
"""Of batch normalisation, and of group normalisation in tensorflow_addons; torch's is 1e-5."""
MOMENTUM = 0.01
"""Of batch normalisation's running statistics: Keras' 0.99 counts the old value, torch's the new one."""


def batch_norm_2d(channels: int) -> nn.BatchNorm2d:
    """Batch normalisation with Keras' constants."""
    return nn.BatchNorm2d(channels, eps=EPSILON, momentum=MOMENTUM)


def glorot_(net: nn.Module) -> None:
    """Keras' start for every convolution of ``net``: Glorot's uniform weights (Glorot & Bengio 2010), biases 0."""
    for m in net.modules():
        if isinstance(m, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d):
            nn.init.xavier_uniform_(m.weight)
            if m.bias is not None:
                nn.init.zeros_(m.bias)
