"""The graphs of the student, written so that XNNPACK takes them whole; each class has the weights of the original.

Every class keeps the module names of what it stands for, so that a policy finds its layers. Batch 1 and one input size,
as a package has them: what hangs on weights and size alone is computed here, once.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from converters.executorch.norms import LinearNorm, LinearUnit, along_both, with_linear_norms
from sam2lite_mobile import contract
from sam2lite_mobile.student.image_encoder import ImageEncoder
from sam2lite_mobile.student.layers import Mlp, map_of, tokens_of
from sam2lite_mobile.student.mask_decoder import BOX_SHARPNESS, POINT_SIGMA, MaskDecoder, MaskHead
from sam2lite_mobile.student.memory_attention import MemoryAttention
from sam2lite_mobile.student.memory_encoder import ENTROPY_FLOOR, PATTERN_GRID, MemoryEncoder
from sam2lite_mobile.student.prompt_encoder import PromptEncoder
from sam2lite_mobile.student.token_gate import TokenGate

LOG2_E = 1.4426950408889634
"""log2(x) = ln(x) * log2(e): XNNPACK has the natural logarithm alone."""


class DelegatedPromptEncoder(nn.Module):
    """`PromptEncoder` without an index: reshaped where it selects."""

    frequencies: Tensor
    label_values: Tensor

    def __init__(self, project: nn.Linear, frequencies: Tensor, label_values: Tensor) -> None:
        super().__init__()
        self.project = project
        self.register_buffer("frequencies", frequencies)
        self.register_buffer("label_values", label_values)

    @classmethod
    def from_torch(cls, encoder: PromptEncoder) -> DelegatedPromptEncoder:
        """The same graph."""
        buffers = [encoder.get_buffer(name).clone() for name in ("frequencies", "label_values")]
        return cls(copy.deepcopy(encoder.project), *buffers)

    def forward(self, points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """As `PromptEncoder.forward`."""
        label = labels.reshape(1, contract.PROMPT_SLOTS, 1)
        one_hot = torch.relu(1.0 - torch.abs(label - self.label_values))
        used = torch.clamp(label + 1.0, 0.0, 1.0)
        x, y = points[:, :, 0:1], points[:, :, 1:2]
        angles = torch.cat([x * self.frequencies, y * self.frequencies], -1)
        learned = self.project(torch.cat([torch.sin(angles), torch.cos(angles), one_hot], -1))
        tokens = torch.cat([points, one_hot, learned], -1) * used
        return tokens, ((used - 1.0) * -contract.MASKED).reshape(1, contract.PROMPT_SLOTS)


class DelegatedMemoryRead(nn.Module):
    """`MemoryAttention` at one size: lengths as products, the null token and the place code as constants.

    forward: tokens (1, n, 256), keys, values (1, B, 256), age, mask (1, B) -> readout (1, n, 256).
    """

    place: Tensor
    age_weight: Tensor
    null_logit: Tensor
    null_value: Tensor

    def __init__(self, content: nn.Linear, unit: LinearUnit, constants: dict[str, Tensor]) -> None:
        super().__init__()
        self.content = content
        self.unit = unit
        for name, value in constants.items():
            self.register_buffer(name, value.detach().clone(memory_format=torch.contiguous_format))

    @classmethod
    def from_torch(cls, read: MemoryAttention, size: int) -> DelegatedMemoryRead:
        """The same read at input size `size`."""
        grid = size // contract.STRIDE
        constants = {
            "place": read.get_buffer(f"place_{grid}") * read.place_weight,
            "age_weight": read.age_weight.reshape(1),
            "null_logit": read.null_logit.reshape(1, 1, 1).expand(1, grid * grid, 1).contiguous(),
            "null_value": torch.cat([read.get_buffer("null_mask"), read.null_value]).reshape(1, 1, -1),
        }
        unit = LinearUnit(read.content.out_features, torch.exp(read.log_temperature))
        return cls(copy.deepcopy(read.content), unit, constants)

    def forward(self, tokens: Tensor, keys: Tensor, values: Tensor, age: Tensor, mask: Tensor) -> Tensor:
        """The readout of `MemoryAttention.forward`."""
        queries = torch.cat([self.unit(self.content(tokens)), self.place], -1)
        bias = (age * self.age_weight + mask).reshape(1, 1, -1)
        logits = torch.bmm(queries, keys.transpose(1, 2)) + bias
        attention = torch.softmax(torch.cat([logits, self.null_logit], -1), -1)
        return torch.bmm(attention, torch.cat([values, self.null_value], 1))


class DelegatedMaskDecoder(nn.Module):
    """`MaskDecoder` at one size: no sum, no expansion, no index.

    forward: the inputs of the contract -> mask_logits, quality, visibility.
    """

    position: Tensor
    place: Tensor
    repeat: Tensor
    centres: Tensor
    queries: Tensor
    open: Tensor
    bias: Tensor
    memory_gain: Tensor
    ones_slots: Tensor
    ones_pattern: Tensor
    read_anchors: DelegatedMemoryRead
    read_recent: DelegatedMemoryRead
    from_anchors: nn.Linear
    from_recent: nn.Linear
    from_guides: nn.Conv2d
    layers: nn.ModuleList
    norm_queries: LinearNorm
    norm_image: LinearNorm
    score: nn.Linear
    embedding: Mlp
    quality: Mlp
    visibility: Mlp
    head: MaskHead

    @classmethod
    def from_torch(cls, decoder: MaskDecoder, size: int) -> DelegatedMaskDecoder:
        """The same graph at input size `size`."""
        made, grid = cls(), size // contract.STRIDE
        linear = with_linear_norms(decoder)
        for name in "from_anchors from_recent from_guides layers norm_queries norm_image score".split():
            setattr(made, name, linear.get_submodule(name))
        for name in "embedding quality visibility head".split():
            setattr(made, name, linear.get_submodule(name))
        made.read_anchors = DelegatedMemoryRead.from_torch(decoder.read_anchors, size)
        made.read_recent = DelegatedMemoryRead.from_torch(decoder.read_recent, size)
        constants = {
            "queries": decoder.queries,
            "bias": decoder.bias,
            "memory_gain": decoder.memory_gain.reshape(1),
            "open": decoder.get_buffer("open"),
            "ones_slots": torch.ones(1, contract.PROMPT_SLOTS, 1),
            "ones_pattern": torch.ones(1, contract.CELL_PATTERN**2, 1, 1),
        }
        for name in "position place repeat centres".split():
            constants[name] = decoder.get_buffer(f"{name}_{grid}")
        for name, value in constants.items():
            made.register_buffer(name, value.detach().clone(memory_format=torch.contiguous_format))
        return made

    def forward(
        self,
        features: Tensor,
        detail_8: Tensor,
        detail_4: Tensor,
        memory_keys: Tensor,
        memory_values: Tensor,
        memory_age: Tensor,
        memory_mask: Tensor,
        memory_anchor: Tensor,
        prompt_tokens: Tensor,
        prompt_mask: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As `MaskDecoder.forward`."""
        side = features.shape[-1]
        tokens = tokens_of(features)
        anchor_mask = torch.clamp(memory_mask + (1.0 - memory_anchor) * contract.MASKED, contract.MASKED, 0.0)
        recent_mask = torch.clamp(memory_mask + memory_anchor * contract.MASKED, contract.MASKED, 0.0)
        anchors = self.read_anchors(tokens, memory_keys, memory_values, memory_age, anchor_mask)
        recent = self.read_recent(tokens, memory_keys, memory_values, memory_age, recent_mask)

        anchor_mean, anchor_pattern = self._read_mask(anchors, side)
        recent_mean, recent_pattern = self._read_mask(recent, side)
        prompts = self._draw_prompts(prompt_tokens)
        guides = torch.cat([anchor_pattern, recent_pattern, anchor_mean, recent_mean, prompts], 1)

        image = tokens + self.from_anchors(anchors) + self.from_recent(recent)
        image = image + tokens_of(self.from_guides(guides)) + self.position
        queries = torch.cat([self.queries, prompt_tokens], 1)
        key_mask = torch.cat([self.open, prompt_mask], 1).reshape(1, 1, -1)
        for layer in self.layers:
            queries, image = layer(queries, image, self.position, key_mask)

        queries = self.norm_queries(queries[:, : contract.OBJECT_QUERIES])
        weights = torch.softmax(self.score(queries).reshape(1, 1, contract.OBJECT_QUERIES), -1)
        winner = torch.bmm(weights, queries)  # (1, 1, 256)
        embedding = torch.bmm(weights, self.embedding(queries))  # (1, 1, 32)
        pixels = self.head(map_of(self.norm_image(image), side), detail_8, detail_4, guides)
        rows = pixels.shape[-1]
        logits = torch.bmm(embedding, pixels.flatten(2)).reshape(1, 1, rows, rows)
        logits = logits + self.bias + (anchor_pattern * 2.0 - 1.0) * self.memory_gain
        quality = torch.sigmoid(self.quality(winner)).reshape(1, 1)
        return logits, quality, self.visibility(winner).reshape(1, 1)

    def _read_mask(self, readout: Tensor, side: int) -> tuple[Tensor, Tensor]:
        """As `MaskDecoder._read_mask`."""
        cells = map_of(readout[:, :, : contract.MASK_CHANNELS], side)
        factor = contract.STRIDE // contract.MASK_STRIDE
        mean = F.interpolate(cells[:, :1], scale_factor=factor, mode="bilinear", align_corners=False)
        patterns = along_both(cells[:, 1:], self.repeat)
        return mean, F.conv2d(patterns * self.place, self.ones_pattern)

    def _draw_prompts(self, prompt_tokens: Tensor) -> Tensor:
        """As `MaskDecoder._draw_prompts`: sums over slots are products with ones."""
        side = self.centres.shape[-1]
        x, y = prompt_tokens[:, :, 0:1], prompt_tokens[:, :, 1:2]  # (1, P, 1)
        background, foreground, first, last = (prompt_tokens[:, :, 2 + i : 3 + i] for i in range(4))

        def over_slots(value: Tensor, kind: Tensor) -> Tensor:
            return torch.bmm(kind.transpose(1, 2), value)  # (1, 1, 1)

        def between(low: Tensor, high: Tensor) -> Tensor:
            above = torch.sigmoid((self.centres - low) * BOX_SHARPNESS)
            return above * torch.sigmoid((high - self.centres) * BOX_SHARPNESS)

        rows = between(over_slots(y, first), over_slots(y, last)) * over_slots(self.ones_slots, first)
        box = torch.bmm(rows.transpose(1, 2), between(over_slots(x, first), over_slots(x, last)))

        def bumps(at: Tensor) -> Tensor:
            distance = (self.centres - at) * (1 / POINT_SIGMA)
            return torch.exp(torch.clamp(distance * distance, 0.0, 16.0) * -0.5)  # (1, P, m)

        bump_x, bump_y = bumps(x), bumps(y)
        near = [torch.bmm((bump_y * kind).transpose(1, 2), bump_x) for kind in (foreground, background)]
        return torch.cat([part.reshape(1, 1, side, side) for part in (box, *near)], 1)


class DelegatedMemoryEncoder(nn.Module):
    """`MemoryEncoder` at one size: area averages as products with constant matrices, lengths as products with ones."""

    place: Tensor
    to_pattern: Tensor
    feature_rows: Tensor
    cell_rows: Tensor
    pattern_rows: Tensor

    def __init__(self, content: nn.Linear, learned: nn.Module, constants: dict[str, Tensor]) -> None:
        super().__init__()
        self.content = content
        self.learned = learned
        self.unit = LinearUnit(content.out_features)
        for name, value in constants.items():
            self.register_buffer(name, value.detach().clone(memory_format=torch.contiguous_format))

    @classmethod
    def from_torch(cls, encoder: MemoryEncoder, size: int) -> DelegatedMemoryEncoder:
        """The same graph at input size `size`."""
        grid = size // contract.STRIDE
        constants = {name: encoder.get_buffer(name) for name in ("place", "to_pattern")}
        for name in ("feature_rows", "cell_rows", "pattern_rows"):
            constants[name] = encoder.get_buffer(f"{name}_{grid}")
        return cls(copy.deepcopy(encoder.content), copy.deepcopy(encoder.learned), constants)

    def forward(self, features: Tensor, mask_logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `MemoryEncoder.forward`."""
        pooled = features if features.shape[-1] == contract.MEMORY_GRID else along_both(features, self.feature_rows)
        tokens = tokens_of(pooled)
        keys = torch.cat([self.unit(self.content(tokens)), self.place], -1)

        mask = torch.sigmoid(mask_logits)
        fine = mask if mask.shape[-1] == PATTERN_GRID else along_both(mask, self.pattern_rows)
        mean = F.avg_pool2d(fine, contract.CELL_PATTERN, contract.CELL_PATTERN)
        pattern = F.conv2d(fine, self.to_pattern, stride=contract.CELL_PATTERN)
        in_cell = tokens_of(torch.cat([mean, pattern], 1))
        values = torch.cat([in_cell, self.learned(torch.cat([tokens, in_cell], -1))], -1)

        other = 1.0 - mask
        entropy = mask * torch.log(mask + ENTROPY_FLOOR) + other * torch.log(other + ENTROPY_FLOOR)
        uncertainty = along_both(torch.clamp(entropy * -LOG2_E, 0.0, 1.0), self.cell_rows)
        return keys, values, uncertainty.reshape(1, contract.TOKENS_PER_FRAME)


class DelegatedTokenGate(nn.Module):
    """`TokenGate` without an index."""

    def __init__(self, hidden_1: nn.Linear, hidden_2: nn.Linear, score: nn.Linear) -> None:
        super().__init__()
        self.hidden_1, self.hidden_2, self.score = hidden_1, hidden_2, score

    @classmethod
    def from_torch(cls, gate: TokenGate) -> DelegatedTokenGate:
        """The same graph."""
        return cls(*(copy.deepcopy(layer) for layer in (gate.hidden_1, gate.hidden_2, gate.score)))

    def forward(self, keys: Tensor, values: Tensor, age: Tensor, motion: Tensor, uncertainty: Tensor) -> Tensor:
        """As `TokenGate.forward`."""
        tokens = keys.shape[1]
        scalars = [x.reshape(1, tokens, 1) for x in (age, motion, uncertainty)]
        x = torch.cat([keys, values, *scalars], -1)
        x = torch.relu(self.hidden_2(torch.relu(self.hidden_1(x))))
        return self.score(x).reshape(1, tokens)  # type: ignore[no-any-return]


def _of_one_size(graph: nn.Module, size: int) -> nn.Module:
    """The graph without the position tables of other sizes, which a program would hold unread."""
    for name, _ in list(graph.named_buffers(recurse=False)):
        if name.startswith("position_") and name != f"position_{size // contract.STRIDE}":
            delattr(graph, name)
    return graph


def reauthored(graph: nn.Module, size: int) -> nn.Module:
    """A graph of the student at an input size, as XNNPACK takes it. Raises TypeError for what is no graph of it."""
    if isinstance(graph, ImageEncoder):
        return _of_one_size(with_linear_norms(graph), size)
    if isinstance(graph, PromptEncoder):
        return DelegatedPromptEncoder.from_torch(graph)
    if isinstance(graph, MaskDecoder):
        return DelegatedMaskDecoder.from_torch(graph, size)
    if isinstance(graph, MemoryEncoder):
        return DelegatedMemoryEncoder.from_torch(graph, size)
    if isinstance(graph, TokenGate):
        return DelegatedTokenGate.from_torch(graph)
    raise TypeError(f"graph: expected one of the student's, got {type(graph).__name__}")
