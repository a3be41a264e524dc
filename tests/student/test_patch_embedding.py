"""The convolutional stem: padding as in the network that its weights come from."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sam2lite_mobile.student.patch_embedding import ConvolutionalStem, conv_same, padding_same


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("side", [32, 38])
def test_padding_is_that_of_tensorflow_to_the_last_bit(kernel: int, stride: int, side: int) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 4, kernel, stride, padding_same(kernel, stride), groups=4)
    x = torch.randn(2, 4, side, side)
    total = kernel - stride  # TensorFlow's rule where the side is a multiple of the stride
    before, after = total // 2, total - total // 2
    padded = F.pad(x, (before, after, before, after))
    expected = F.conv2d(padded, conv.weight, conv.bias, stride, groups=4)
    assert torch.equal(conv_same(conv, x), expected)


def test_maps_are_not_changed_by_later_blocks() -> None:
    """Activations are computed in place; the maps that leave the stem must not be among them."""
    torch.manual_seed(0)
    stem = ConvolutionalStem().eval()
    image = torch.randn(1, 3, 64, 64)
    before = image.clone()
    with torch.no_grad():
        _, map_8, map_4 = stem(image)
        x = image
        expected = []
        y = torch.relu(conv_same(stem.stem, x)).clamp(max=6)
        for block in stem.blocks[:5]:
            y = block(y.clone())
            expected.append(y.clone())
    assert torch.equal(image, before)
    assert torch.equal(map_4, expected[2])
    assert torch.equal(map_8, expected[4])
