"""What operations that rearrange, index and quantize must give."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from tests.mlprogram.building import Case, as_tensor, floats, integers, mb, types

X = floats(2, 3, 4)
IMAGE = floats(1, 8, 4, 6)
POINTS = integers(2, 0, 2)

SHAPE = [
    Case("reshape", [X], lambda a: mb.reshape(x=a, shape=[0, -1, 2]), lambda a: a.reshape(2, 6, 2)),
    Case("flatten2d", [X], lambda a: mb.flatten2d(x=a, axis=2), lambda a: a.reshape(6, 4)),
    Case("transpose", [X], lambda a: mb.transpose(x=a, perm=[2, 0, -2]), lambda a: a.permute(2, 0, 1)),
    Case("expand_dims", [X], lambda a: mb.expand_dims(x=a, axes=[0, -1]), lambda a: a[None, ..., None]),
    Case("squeeze", [floats(1, 3, 1)], lambda a: mb.squeeze(x=a, axes=[-1]), lambda a: a[..., 0]),
    Case("squeeze", [floats(1, 3, 1)], lambda a: mb.squeeze(x=a), lambda a: a.reshape(3), form="all"),
    Case("concat", [X, X + 1], lambda a, b: mb.concat(values=[a, b], axis=-2), lambda a, b: torch.cat([a, b], 1)),
    Case(
        "concat",
        [X, X + 10],
        lambda a, b: mb.concat(values=[a, b], axis=1, interleave=True),
        lambda a, b: torch.stack([a[:, 0], b[:, 0], a[:, 1], b[:, 1], a[:, 2], b[:, 2]], 1),
        form="interleaved",
    ),
    Case("stack", [X, X + 1], lambda a, b: mb.stack(values=[a, b], axis=-1), lambda a, b: torch.stack([a, b], -1)),
    Case("split", [X], lambda a: mb.split(x=a, num_splits=2, axis=-1)[1], lambda a: a[..., 2:], form="equal"),
    Case("split", [X], lambda a: mb.split(x=a, split_sizes=[1, 2], axis=1)[1], lambda a: a[:, 1:], form="sizes"),
    Case(
        "slice_by_index",
        [X],
        lambda a: mb.slice_by_index(
            x=a,
            begin=[-1, 0, 1],
            end=[0, 2, 0],
            begin_mask=[False, True, False],
            end_mask=[False, False, True],
            squeeze_mask=[True, False, False],
        ),
        lambda a: a[-1, :2, 1:],
        form="masks",
    ),
    Case(
        "slice_by_index",
        [X],
        lambda a: mb.slice_by_index(
            x=a, begin=[0, 2, 3], end=[2, 0, 0], stride=[1, -1, -2], end_mask=[False, False, True]
        ),
        lambda a: torch.from_numpy(a.numpy()[0:2, 2:0:-1, 3::-2].copy()),
        form="backwards",
    ),
    Case(
        "slice_by_size", [X], lambda a: mb.slice_by_size(x=a, begin=[0, 1, 2], size=[2, 1, -1]), lambda a: a[:, 1:2, 2:]
    ),
    Case(
        "slice_update",
        [X, floats(2, 1, 2, seed=5)],
        lambda a, b: mb.slice_update(x=a, update=b, begin=[0, 1, 0], end=[2, 2, 4], stride=[1, 1, 2]),
        lambda a, b: torch.cat(
            [a[:, :1], torch.stack([b[..., 0], a[:, 1:2, 1], b[..., 1], a[:, 1:2, 3]], -1), a[:, 2:]], 1
        ),
        ios=18,
    ),
    Case("crop", [IMAGE], lambda a: mb.crop(x=a, crop_height=[1, 2], crop_width=[0, 3]), lambda a: a[:, :, 1:2, :3]),
    Case("tile", [X], lambda a: mb.tile(x=a, reps=[1, 2, 3]), lambda a: torch.cat([torch.cat([a] * 2, 1)] * 3, 2)),
    Case("reverse", [X], lambda a: mb.reverse(x=a, axes=[0, -1]), lambda a: a[[1, 0]][..., [3, 2, 1, 0]]),
    Case(
        "pad",
        [X],
        lambda a: mb.pad(x=a, pad=[1, 0, 0, 2], mode="constant", constant_val=7.0),
        lambda a: F.pad(a, (0, 2, 1, 0), value=7.0),
        form="constant",
    ),
    Case(
        "pad",
        [IMAGE],
        lambda a: mb.pad(x=a, pad=[1, 2, 3, 0], mode="reflect"),
        lambda a: F.pad(a, (3, 0, 1, 2), mode="reflect"),
        form="reflect",
    ),
    Case(
        "pad",
        [X],
        lambda a: mb.pad(x=a, pad=[0, 0, 0, 0, 2, 1], mode="replicate"),
        lambda a: a[..., [0, 0, 0, 1, 2, 3, 3]],
        form="replicate the last axis",
    ),
    Case("pixel_shuffle", [IMAGE], lambda a: mb.pixel_shuffle(x=a, upscale_factor=2), lambda a: F.pixel_shuffle(a, 2)),
    Case(
        "pixel_unshuffle",
        [IMAGE],
        lambda a: mb.pixel_unshuffle(x=a, downscale_factor=np.uint32(2)),
        lambda a: F.pixel_unshuffle(a, 2),
    ),
    Case(
        "depth_to_space",
        [IMAGE],
        lambda a: mb.depth_to_space(x=a, block_size=2),
        # channel (row * 2 + column) * 2 + c of the input is channel c at that place of the 2 x 2 block
        lambda a: torch.stack(
            [torch.stack([a[:, 0:2], a[:, 2:4]], -1), torch.stack([a[:, 4:6], a[:, 6:8]], -1)], 3
        ).reshape(1, 2, 8, 12),
    ),
    Case(
        "space_to_depth",
        [IMAGE],
        lambda a: mb.space_to_depth(x=a, block_size=2),
        lambda a: torch.cat([a[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)], 1),
    ),
    Case(
        "shape",
        [X],
        lambda a: mb.mul(x=a, y=mb.cast(x=mb.reduce_max(x=mb.shape(x=a), axes=[0]), dtype="fp32")),
        lambda a: a * 4,
    ),
    Case("fill", [X], lambda a: mb.add(x=a, y=mb.fill(shape=[3, 1], value=2.5)), lambda a: a + 2.5),
    Case("fill_like", [X], lambda a: mb.add(x=a, y=mb.fill_like(ref_tensor=a, value=2.5)), lambda a: a + 2.5),
    Case(
        "range_1d",
        [X],
        lambda a: mb.add(x=a, y=mb.range_1d(start=np.float32(1), end=np.float32(3), step=np.float32(0.5))),
        lambda a: a + torch.tensor([1, 1.5, 2, 2.5]),
    ),
    Case(
        "one_hot",
        [POINTS],
        lambda a: mb.one_hot(
            indices=a, one_hot_vector_size=4, axis=0, on_value=np.float32(2), off_value=np.float32(-1)
        ),
        lambda a: F.one_hot(a.long(), 4).T * 3.0 - 1,
    ),
    Case("band_part", [X], lambda a: mb.band_part(x=a, lower=1, upper=0), lambda a: a.tril(0).triu(-1)),
]
INDEXING = [
    Case("gather", [X, POINTS], lambda a, b: mb.gather(x=a, indices=b, axis=-1), lambda a, b: a[..., [2, 0, 2]]),
    Case(
        "gather",
        [X, integers([1, 2], [0, 1])],
        lambda a, b: mb.gather(x=a, indices=b, axis=1, batch_dims=1),
        lambda a, b: torch.stack([a[0, [1, 2]], a[1, [0, 1]]]),
        form="batch",
    ),
    Case(
        "gather",
        [X, integers(-1, 0)],
        lambda a, b: mb.gather(x=a, indices=b, axis=1),
        lambda a, b: a[:, [2, 0]],
        form="from the end",
        ios=16,
    ),
    Case(
        "gather_along_axis",
        [X, integers([[0, 1, 2, 0]], [[2, 2, 1, 1]])],
        lambda a, b: mb.gather_along_axis(x=a, indices=b, axis=1),
        lambda a, b: torch.take_along_dim(a, b.long(), 1),
    ),
    Case(
        "gather_nd",
        [X, integers([0, 2], [1, 0])],
        lambda a, b: mb.gather_nd(x=a, indices=b),
        lambda a, b: torch.stack([a[0, 2], a[1, 0]]),
    ),
    *(
        Case(
            "scatter",
            [floats(3, 4, low=0.5), integers(2, 0), floats(3, 2, low=0.5, seed=1)],
            lambda a, b, c, mode=mode: mb.scatter(data=a, indices=b, updates=c, axis=1, mode=mode),
            lambda a, b, c, combine=combine: torch.stack(
                [combine(a[:, 0], c[:, 1]), a[:, 1], combine(a[:, 2], c[:, 0]), a[:, 3]], 1
            ),
            form=mode,
        )
        for mode, combine in {
            "update": lambda old, new: new,
            "add": torch.add,
            "sub": torch.sub,
            "mul": torch.mul,
            "div": torch.div,
            "max": torch.maximum,
            "min": torch.minimum,
        }.items()
    ),
    Case(
        "scatter_along_axis",
        [floats(2, 3), integers([0, 0], [2, 1]), floats(2, 2, seed=1)],
        lambda a, b, c: mb.scatter_along_axis(data=a, indices=b, updates=c, axis=1, mode="add"),
        lambda a, b, c: a + torch.stack([torch.tensor([c[0, 0] + c[0, 1], 0, 0]), torch.tensor([0, c[1, 1], c[1, 0]])]),
    ),
    Case(
        "scatter_nd",
        [X, integers([0, 2], [1, 0]), floats(2, 4, seed=1)],
        lambda a, b, c: mb.scatter_nd(data=a, indices=b, updates=c, mode="update"),
        lambda a, b, c: torch.stack([torch.stack([a[0, 0], a[0, 1], c[0]]), torch.stack([c[1], a[1, 1], a[1, 2]])]),
    ),
]

SCALES = np.array([0.5, 0.25, 0.125], np.float32)
EDGES = np.array([[-70.0, -0.75, 0.25, 0.75], [10.0, 31.0, 31.9, 40.0], [-15.9, 0.0625, 0.1875, 20.0]], np.float32)


def _steps(a, scale, zero, low, high):
    return (torch.round(a / scale) + zero).clamp(low, high)


def _used(constant):
    """A compressed constant cannot be an output itself: it is added to the input, which holds zeros."""
    return lambda a: mb.add(x=a, y=constant())


def _packed(dtype, values):
    return np.array(values).astype(types.nptype_from_builtin(dtype))


NIBBLES = np.arange(-8, 8, dtype=np.int8).reshape(4, 4)
BLOCK_SCALE = np.array([[1, 2], [4, 8]], np.float32)
WIDE_SCALE = np.kron(BLOCK_SCALE, np.ones((2, 2), np.float32))
TABLE = np.array([10, 20, 30, 40, 50, 60, 70, 80], np.float32).reshape(2, 1, 4, 1)  # one table for each three rows
INDICES = np.array([[2, 3], [3, 0], [1, 0], [3, 0], [2, 1], [0, 3]])
MASK = np.array([[1, 0, 1], [0, 1, 1]], np.uint8)


def _zeros(*shape):
    return [np.zeros(shape, np.float32)]


QUANTIZATION = [
    Case(
        "quantize",
        [EDGES],
        lambda a: mb.cast(
            x=mb.quantize(input=a, scale=SCALES, zero_point=np.array([1, -2, 3], np.int8), axis=0, output_dtype="int8"),
            dtype="fp32",
        ),
        lambda a: _steps(a, as_tensor(SCALES)[:, None], torch.tensor([[1], [-2], [3]]), -128, 127),
        form="int8 per channel",
    ),
    Case(
        "quantize",
        [EDGES],
        lambda a: mb.cast(
            x=mb.quantize(input=a, scale=np.float32(0.5), zero_point=np.uint8(100), output_dtype="uint8"), dtype="fp32"
        ),
        lambda a: _steps(a, 0.5, 100, 0, 255),
        form="uint8",
    ),
    Case(
        "dequantize",
        [EDGES],
        lambda a: mb.dequantize(
            input=mb.quantize(input=a, scale=np.float32(0.5), output_dtype="int8"),
            scale=SCALES,
            zero_point=np.array([1, -2, 3], np.int8),
            axis=0,
        ),
        lambda a: (_steps(a, 0.5, 0, -128, 127) - torch.tensor([[1], [-2], [3]])) * as_tensor(SCALES)[:, None],
        form="per channel",
    ),
    Case(
        "constexpr_affine_dequantize",
        _zeros(4, 3),
        _used(
            lambda: mb.constexpr_affine_dequantize(
                quantized_data=np.arange(12, dtype=np.uint8).reshape(4, 3),
                zero_point=np.array([1, 2, 3], np.uint8),
                scale=SCALES,
                axis=1,
            )
        ),
        lambda a: (torch.arange(12.0).reshape(4, 3) - torch.tensor([1.0, 2, 3])) * as_tensor(SCALES),
    ),
    Case(
        "constexpr_cast",
        _zeros(3),
        _used(lambda: mb.constexpr_cast(source_val=np.array([0.1, 2, 3], np.float16), output_dtype="fp32")),
        lambda a: torch.tensor([0.1, 2, 3]).half().float(),
        tolerance=0.0,
    ),
    Case(
        "constexpr_lut_to_dense",
        _zeros(5),
        _used(
            lambda: mb.constexpr_lut_to_dense(
                indices=np.array([0b01101100, 0b11], np.uint8),  # 0, 3, 2, 1 and 3, lowest bits first
                lut=np.array([10, 20, 30, 40], np.float32),
                shape=np.array([5], np.uint32),
            )
        ),
        lambda a: torch.tensor([10.0, 40, 30, 20, 40]),
        form="flat",
        ios=16,
    ),
    Case(
        "constexpr_lut_to_dense",
        _zeros(6, 2),
        _used(lambda: mb.constexpr_lut_to_dense(indices=_packed(types.uint2, INDICES), lut=TABLE)),
        lambda a: as_tensor(TABLE).reshape(2, 4)[torch.tensor([0, 0, 0, 1, 1, 1])[:, None], torch.from_numpy(INDICES)],
        form="a table for each group",
        ios=18,
    ),
    Case(
        "constexpr_lut_to_dense",
        _zeros(2, 4),
        _used(
            lambda: mb.constexpr_lut_to_dense(
                indices=_packed(types.uint1, [[0, 1], [1, 0]]),
                lut=np.array([[1, 2], [3, 4]], np.float32).reshape(1, 1, 2, 2),
                vector_axis=1,
            )
        ),
        lambda a: torch.tensor([[1.0, 2, 3, 4], [3, 4, 1, 2]]),
        form="vectors",
        ios=18,
    ),
    Case(
        "constexpr_blockwise_shift_scale",
        _zeros(4, 4),
        _used(
            lambda: mb.constexpr_blockwise_shift_scale(
                data=_packed(types.int4, NIBBLES),
                scale=BLOCK_SCALE,
                offset=_packed(types.int4, [[1, 0], [-1, 2]]),
            )
        ),
        lambda a: (
            (as_tensor(NIBBLES).float() - torch.tensor([[1.0, 0], [-1, 2]]).kron(torch.ones(2, 2)))
            * as_tensor(WIDE_SCALE)
        ),
        form="int4 with offsets",
        ios=18,
    ),
    Case(
        "constexpr_sparse_to_dense",
        _zeros(5),
        _used(
            lambda: mb.constexpr_sparse_to_dense(
                nonzero_data=np.array([7, 8, 9], np.float32),
                mask=np.array([0b10110], np.uint8),
                shape=np.array([5], np.uint32),
            )
        ),
        lambda a: torch.tensor([0.0, 7, 8, 0, 9]),
        form="flat",
        ios=16,
    ),
    Case(
        "constexpr_sparse_to_dense",
        _zeros(2, 3),
        _used(
            lambda: mb.constexpr_sparse_to_dense(
                nonzero_data=np.array([5, 6, 7, 8], np.float32), mask=_packed(types.uint1, MASK)
            )
        ),
        lambda a: torch.tensor([[5.0, 0, 6], [0, 7, 8]]),
        form="mask array",
        ios=18,
    ),
    Case(
        "constexpr_lut_to_sparse",
        _zeros(2, 3),
        _used(
            lambda: _dense(
                *mb.constexpr_lut_to_sparse(
                    indices_mask=_packed(types.uint1, MASK),
                    indices_nonzero_data=_packed(types.uint1, [0, 1, 1, 0]),
                    lut=np.array([2, 3], np.float32).reshape(1, 1, 2, 1),
                )
            )
        ),
        lambda a: torch.tensor([[2.0, 0, 3], [0, 3, 2]]),
        ios=18,
    ),
    Case(
        "constexpr_lut_to_sparse",
        _zeros(4, 3),
        _used(
            lambda: _dense(
                *mb.constexpr_lut_to_sparse(
                    indices_mask=_packed(types.uint1, MASK),
                    indices_nonzero_data=_packed(types.uint1, [0, 1, 1, 0]),
                    lut=np.array([[2, 3], [4, 5]], np.float32).reshape(1, 1, 2, 2),
                    vector_axis=0,
                )
            )
        ),
        lambda a: torch.tensor([[2.0, 0, 4], [3, 0, 5], [0, 4, 2], [0, 5, 3]]),
        form="vectors",
        ios=18,
    ),
    Case(
        "constexpr_sparse_blockwise_shift_scale",
        _zeros(2, 3),
        _used(
            lambda: _dense(
                *mb.constexpr_sparse_blockwise_shift_scale(
                    data_mask=_packed(types.uint1, MASK),
                    nonzero_data=np.array([5, 6, 7, 8], np.int8),
                    scale=np.array([[1], [10]], np.float32),
                    offset=np.array([[1], [2]], np.int8),
                )
            )
        ),
        lambda a: torch.tensor([[4.0, 0, 5], [0, 50, 60]]),
        ios=18,
    ),
]


def _dense(mask, values):
    return mb.constexpr_sparse_to_dense(nonzero_data=values, mask=mask)


CASES = [*SHAPE, *INDEXING, *QUANTIZATION]
