"""What products, convolutions, norms, reductions and resampling must compute."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from tests.mlprogram.building import Case, as_tensor, floats, mb

SEQUENCE = floats(2, 5, 6)
IMAGE = floats(1, 4, 7, 6)
WEIGHT = floats(8, 6, seed=1)
BIAS = floats(8, seed=2)
KERNEL = floats(6, 4, 3, 2, seed=3)
GROUPED = floats(6, 2, 3, 3, seed=4)
SPREAD = floats(4, 3, 3, 3, seed=5)  # of a transposed convolution: in, out
CHANNEL = [floats(4, seed=s, low=0.2, high=1.5) for s in range(6, 10)]  # gamma, beta, mean, variance


def _t(*arrays):
    return [as_tensor(a) for a in arrays]


def _conv(form, reference, *, weight=KERNEL, **arguments):
    return Case(
        "conv", [IMAGE], lambda a: mb.conv(x=a, weight=weight, **arguments), reference, form=form, tolerance=1e-5
    )


def _spread(form, reference, **arguments):
    return Case(
        "conv_transpose",
        [IMAGE],
        lambda a: mb.conv_transpose(x=a, weight=SPREAD, **arguments),
        reference,
        form=form,
        tolerance=1e-5,
    )


def _reduction(op, reference, values=SEQUENCE):
    return [
        Case(
            op,
            [values],
            lambda a: getattr(mb, op)(x=a, axes=[0, -1], keep_dims=True),
            lambda a: reference(a, (0, 2), True),
            form="two axes",
        ),
        Case(
            op,
            [values],
            lambda a: getattr(mb, op)(x=a, axes=[1], keep_dims=False),
            lambda a: reference(a, (1,), False),
            form="one axis",
        ),
    ]


def _prod(x, axes, keep):
    for axis in sorted(axes, reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


LINEAR = [
    Case(
        "linear",
        [SEQUENCE],
        lambda a: mb.linear(x=a, weight=WEIGHT, bias=BIAS),
        lambda a: a @ as_tensor(WEIGHT).T + as_tensor(BIAS),
    ),
    Case(
        "linear",
        [SEQUENCE],
        lambda a: mb.linear(x=a, weight=WEIGHT),
        lambda a: a @ as_tensor(WEIGHT).T,
        form="no bias",
    ),
    Case("matmul", [SEQUENCE, floats(6, 3)], lambda a, b: mb.matmul(x=a, y=b), torch.matmul),
    Case(
        "matmul",
        [floats(2, 6, 5), floats(2, 3, 6)],
        lambda a, b: mb.matmul(x=a, y=b, transpose_x=True, transpose_y=True),
        lambda a, b: a.mT @ b.mT,
        form="both transposed",
    ),
    Case(
        "einsum",
        [floats(1, 3, 4, 5), floats(1, 5, 4, 6)],
        lambda a, b: mb.einsum(values=(a, b), equation="nchw,nwhu->nchu"),
        lambda a, b: torch.einsum("nchw,nwhu->nchu", a, b),
    ),
    Case(
        "scaled_dot_product_attention",
        [floats(1, 2, 3, 8), floats(1, 2, 5, 8), floats(1, 2, 5, 4), floats(1, 1, 3, 5)],
        lambda a, b, c, d: mb.scaled_dot_product_attention(query=a, key=b, value=c, attn_mask=d),
        lambda a, b, c, d: torch.softmax(a @ b.mT / 8**0.5 + d, -1) @ c,
        form="additive mask",
        ios=18,
    ),
    Case(
        "scaled_dot_product_attention",
        [floats(1, 2, 3, 8), floats(1, 2, 5, 8), floats(1, 2, 5, 4)],
        lambda a, b, c: mb.scaled_dot_product_attention(query=a, key=b, value=c),
        lambda a, b, c: torch.softmax(a @ b.mT / 8**0.5, -1) @ c,
        ios=18,
    ),
]
CONVOLUTION = [
    _conv("valid", lambda a: F.conv2d(a, *_t(KERNEL))),
    _conv(
        "uneven padding",
        lambda a: F.conv2d(F.pad(a, (0, 2, 1, 0)), *_t(KERNEL), stride=(2, 1)),
        pad_type="custom",
        pad=[1, 0, 0, 2],
        strides=[2, 1],
    ),
    _conv(
        "height and width padding differ",
        lambda a: F.conv2d(a, *_t(KERNEL), padding=(2, 1), dilation=(2, 1)),
        pad_type="custom",
        pad=[2, 2, 1, 1],
        dilations=[2, 1],
    ),
    _conv(
        "same pads after",
        lambda a: F.conv2d(F.pad(a, (0, 1, 1, 1)), *_t(KERNEL)),
        pad_type="same",
    ),
    _conv(
        "same_lower pads before",
        lambda a: F.conv2d(F.pad(a, (1, 0, 1, 1)), *_t(KERNEL)),
        pad_type="same_lower",
    ),
    _conv(
        "groups and bias",
        lambda a: F.conv2d(a, *_t(GROUPED), bias=as_tensor(BIAS[:6]), groups=2, padding=1),
        weight=GROUPED,
        groups=2,
        bias=BIAS[:6],
        pad_type="custom",
        pad=[1, 1, 1, 1],
    ),
    Case(
        "conv",
        [floats(2, 4, 9)],
        lambda a: mb.conv(x=a, weight=floats(3, 4, 3), strides=[2]),
        lambda a: F.conv1d(a, *_t(floats(3, 4, 3)), stride=2),
        form="one axis",
    ),
    _spread("valid", lambda a: F.conv_transpose2d(a, *_t(SPREAD), stride=2), strides=[2, 2]),
    _spread(
        "padding crops",
        lambda a: F.conv_transpose2d(a, *_t(SPREAD), bias=as_tensor(BIAS[:3]), stride=2)[:, :, 1:, 2:-1],
        strides=[2, 2],
        pad_type="custom",
        pad=[1, 0, 2, 1],
        bias=BIAS[:3],
    ),
    _spread(
        "output_shape asks for more",
        lambda a: F.conv_transpose2d(a, *_t(SPREAD), bias=as_tensor(BIAS[:3]), stride=2, padding=1, output_padding=1),
        strides=[2, 2],
        pad_type="custom",
        pad=[1, 1, 1, 1],
        output_shape=[1, 3, 14, 12],
        bias=BIAS[:3],
    ),
    Case(
        "conv_transpose",
        [IMAGE],
        lambda a: mb.conv_transpose(x=a, weight=floats(4, 2, 2, 2), strides=[2, 2], groups=2),
        lambda a: F.conv_transpose2d(a, *_t(floats(4, 2, 2, 2)), stride=2, groups=2),
        form="groups",
    ),
    Case(
        "avg_pool",
        [IMAGE],
        lambda a: mb.avg_pool(x=a, kernel_sizes=[2, 3], strides=[2, 1], pad_type="valid"),
        lambda a: F.avg_pool2d(a, (2, 3), (2, 1)),
    ),
    Case(
        "avg_pool",
        [IMAGE],
        lambda a: mb.avg_pool(x=a, kernel_sizes=[3, 3], pad_type="custom", pad=[1, 1, 1, 1]),
        lambda a: F.avg_pool2d(a, 3, 1, 1),
        form="stride is 1 unless given",
    ),
    Case(
        "avg_pool",
        [IMAGE],
        lambda a: mb.avg_pool(
            x=a,
            kernel_sizes=[2, 2],
            strides=[2, 2],
            pad_type="custom",
            pad=[1, 0, 0, 0],
            exclude_padding_from_average=True,
        ),
        lambda a: torch.cat([F.avg_pool2d(a[:, :, :1], (1, 2)), F.avg_pool2d(a[:, :, 1:], 2)], 2),
        form="uneven padding excluded",
    ),
    Case(
        "max_pool",
        [IMAGE - 3],
        lambda a: mb.max_pool(x=a, kernel_sizes=[3, 3], strides=[2, 2], pad_type="custom", pad=[1, 1, 1, 1]),
        lambda a: F.max_pool2d(a, 3, 2, 1),
    ),
    Case(
        "max_pool",
        [IMAGE - 3],
        lambda a: mb.max_pool(x=a, kernel_sizes=[2, 2], strides=[2, 2], pad_type="same"),
        lambda a: F.max_pool2d(a, 2, 2, ceil_mode=True),
        form="padding never wins",
    ),
]
NORMALIZATION = [
    Case(
        "layer_norm",
        [SEQUENCE],
        lambda a: mb.layer_norm(x=a, axes=[-1], gamma=BIAS[:6], beta=BIAS[2:], epsilon=1e-2),
        lambda a: F.layer_norm(a, (6,), *_t(BIAS[:6], BIAS[2:]), eps=1e-2),
        form="last axis",
    ),
    Case(
        "layer_norm",
        [IMAGE],
        lambda a: mb.layer_norm(x=a, axes=[1], gamma=CHANNEL[0], beta=CHANNEL[1], epsilon=1e-2),
        lambda a: F.layer_norm(a.permute(0, 2, 3, 1), (4,), *_t(*CHANNEL[:2]), eps=1e-2).permute(0, 3, 1, 2),
        form="channels of an image",
    ),
    Case(
        "layer_norm",
        [SEQUENCE],
        lambda a: mb.layer_norm(x=a, axes=[1, 2]),
        lambda a: (a - a.mean((1, 2), True)) / (a.var((1, 2), correction=0, keepdim=True) + 1e-5).sqrt(),
        form="no affine part",
    ),
    Case(
        "batch_norm",
        [IMAGE],
        lambda a: mb.batch_norm(
            x=a, gamma=CHANNEL[0], beta=CHANNEL[1], mean=CHANNEL[2], variance=CHANNEL[3], epsilon=1e-2
        ),
        lambda a: F.batch_norm(a, *_t(CHANNEL[2], CHANNEL[3], CHANNEL[0], CHANNEL[1]), eps=1e-2),
    ),
    Case(
        "instance_norm",
        [IMAGE],
        lambda a: mb.instance_norm(x=a, gamma=CHANNEL[0], beta=CHANNEL[1], epsilon=1e-2),
        lambda a: (
            (a - a.mean((2, 3), True))
            / (a.var((2, 3), correction=0, keepdim=True) + 1e-2).sqrt()
            * as_tensor(CHANNEL[0]).reshape(4, 1, 1)
            + as_tensor(CHANNEL[1]).reshape(4, 1, 1)
        ),
    ),
    Case(
        "l2_norm",
        [floats(2, 2, 3, 4)],
        lambda a: mb.l2_norm(x=a, epsilon=1e-2),
        lambda a: a / (a.square().sum((1, 2, 3), True) + 1e-2).sqrt(),
    ),
]
REDUCTION = [
    *_reduction("reduce_mean", torch.mean),
    *_reduction("reduce_sum", torch.sum),
    *_reduction("reduce_max", torch.amax),
    *_reduction("reduce_min", torch.amin),
    *_reduction("reduce_prod", _prod),
    *_reduction("reduce_l1_norm", lambda x, axes, keep: x.abs().sum(axes, keep)),
    *_reduction("reduce_l2_norm", lambda x, axes, keep: x.norm(dim=axes, keepdim=keep)),
    *_reduction("reduce_sum_square", lambda x, axes, keep: x.square().sum(axes, keep)),
    *_reduction("reduce_log_sum", lambda x, axes, keep: x.sum(axes, keep).log(), np.abs(SEQUENCE)),
    *_reduction("reduce_log_sum_exp", torch.logsumexp),
    *(
        Case(
            op,
            [SEQUENCE],
            lambda a, op=op, keep=keep: mb.cast(x=getattr(mb, op)(x=a, axis=1, keep_dims=keep), dtype="fp32"),
            lambda a, op=op, keep=keep: getattr(torch, op.removeprefix("reduce_"))(a, 1, keep).float(),
            form=f"keep {keep}",
        )
        for op in ("reduce_argmax", "reduce_argmin")
        for keep in (False, True)
    ),
    Case("softmax", [SEQUENCE], lambda a: mb.softmax(x=a, axis=1), lambda a: a.exp() / a.exp().sum(1, True)),
    *(
        Case(
            "cumsum",
            [SEQUENCE],
            lambda a, e=e, r=r: mb.cumsum(x=a, axis=1, exclusive=e, reverse=r),
            lambda a, e=e, r=r: torch.stack(
                [(a[:, i + e :] if r else a[:, : i + 1 - e]).sum(1) for i in range(5)],
                1,
            ),
            form=f"exclusive {e} reverse {r}",
        )
        for e in (False, True)
        for r in (False, True)
    ),
    Case(
        "topk",
        [SEQUENCE],
        lambda a: mb.topk(x=a, k=2, axis=1)[0],
        lambda a: a.sort(1, descending=True).values[:, :2],
        form="largest",
    ),
    Case(
        "topk",
        [SEQUENCE],
        lambda a: mb.cast(x=mb.topk(x=a, k=3, axis=-1, ascending=True)[1], dtype="fp32"),
        lambda a: a.argsort(-1)[..., :3].float(),
        form="indices of the smallest",
    ),
    Case(
        "argsort",
        [SEQUENCE],
        lambda a: mb.cast(x=mb.argsort(x=a, axis=1), dtype="fp32"),
        lambda a: a.argsort(1, descending=True).float(),
        form="falling unless told",
    ),
    Case(
        "argsort",
        [SEQUENCE],
        lambda a: mb.cast(x=mb.argsort(x=a, axis=-1, ascending=True), dtype="fp32"),
        lambda a: a.argsort(-1).float(),
        form="rising",
    ),
]
GRID = floats(1, 3, 5, 2, low=-1.3, high=1.3)


def _resample(form, reference, *, grid=GRID, sampling="bilinear", padding="constant", value=0.0, mode, corners):
    return Case(
        "resample",
        [IMAGE, grid],
        lambda a, b: mb.resample(
            x=a,
            coordinates=b,
            sampling_mode=sampling,
            padding_mode=padding,
            padding_value=np.float32(value),
            coordinates_mode=mode,
            align_corners=corners,
        ),
        reference,
        form=form,
        tolerance=1e-5,
    )


def _tent(a, size, *, points):
    """Bilinear resize of one row at given grid points, the slow and obvious way."""
    lower = points.floor().long()
    share = points - lower
    return a[..., lower] * (1 - share) + a[..., (lower + 1).clamp(max=size - 1)] * share


ROW = floats(1, 2, 1, 4)
RESAMPLING = [
    *(
        Case(
            "upsample_bilinear",
            [IMAGE],
            lambda a, c=c: mb.upsample_bilinear(x=a, scale_factor_height=2.0, scale_factor_width=1.5, align_corners=c),
            lambda a, c=c: F.interpolate(a, (14, 9), mode="bilinear", align_corners=c),
            form=f"corners {c}",
        )
        for c in (False, True)
    ),
    Case(
        "upsample_bilinear",
        [ROW],
        lambda a: mb.upsample_bilinear(x=a, scale_factor_width=2.0, align_corners=False, half_pixel_centers=False),
        lambda a: _tent(a, 4, points=torch.tensor([0, 0.5, 1, 1.5, 2, 2.5, 3, 3])),
        form="corner origin",
    ),
    *(
        Case(
            "resize_bilinear",
            [ROW],
            lambda a, m=m: mb.resize_bilinear(x=a, target_size_height=1, target_size_width=6, sampling_mode=m),
            lambda a, p=p: _tent(a, 4, points=torch.tensor(p, dtype=torch.float32)),
            form=m,
            tolerance=1e-5,
        )
        for m, p in {
            "STRICT_ALIGN_CORNERS": [0, 0.6, 1.2, 1.8, 2.4, 3],
            "ALIGN_CORNERS": [0, 0.6, 1.2, 1.8, 2.4, 3],
            "DEFAULT": [0, 2 / 3, 4 / 3, 2, 8 / 3, 3],
            "OFFSET_CORNERS": [0.25, 0.75, 1.25, 1.75, 2.25, 2.75],
            "UNALIGN_CORNERS": [0, 0.5, 7 / 6, 11 / 6, 2.5, 3],
        }.items()
    ),
    Case(
        "upsample_nearest_neighbor",
        [IMAGE],
        lambda a: mb.upsample_nearest_neighbor(x=a, scale_factor_height=2, scale_factor_width=3),
        lambda a: a.repeat_interleave(2, 2).repeat_interleave(3, 3),
    ),
    Case(
        "resize_nearest_neighbor",
        [ROW],
        lambda a: mb.resize_nearest_neighbor(x=a, target_size_height=2, target_size_width=6),
        lambda a: a[..., [0, 0, 1, 2, 2, 3]].repeat(1, 1, 2, 1),
    ),
    _resample(
        "zeros",
        lambda a, b: F.grid_sample(a, b, padding_mode="zeros", align_corners=False),
        mode="normalized_minus_one_to_one",
        corners=False,
    ),
    _resample(
        "border nearest zero to one",
        lambda a, b: F.grid_sample(a, 2 * b - 1, mode="nearest", padding_mode="border", align_corners=True),
        mode="normalized_zero_to_one",
        corners=True,
        sampling="nearest",
        padding="border",
    ),
    _resample(
        "reflection",
        lambda a, b: F.grid_sample(a, b, padding_mode="reflection", align_corners=True),
        mode="normalized_minus_one_to_one",
        corners=True,
        padding="reflection",
    ),
    *(
        _resample(
            f"pixels corners {corners}",
            lambda a, b: a[:, :, [1, 3]][..., [0, 5]],
            grid=np.array([[[[0, 1], [5, 1]], [[0, 3], [5, 3]]]], np.float32),
            mode="unnormalized",
            corners=corners,
        )
        for corners in (False, True)
    ),
    _resample(
        "constant outside",
        lambda a, b: torch.full((1, 4, 1, 1), 7.0),
        grid=np.array([[[[-9, 1]]]], np.float32),
        mode="unnormalized",
        corners=True,
        value=7.0,
    ),
]
CASES = [*LINEAR, *CONVOLUTION, *NORMALIZATION, *REDUCTION, *RESAMPLING]
