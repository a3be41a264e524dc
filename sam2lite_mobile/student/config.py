"""Configuration of a student: the numbers that decide its shapes, and the four published sizes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

from sam2lite_mobile.errors import CheckpointError, ContractError, explain

PatchEmbedding = Literal["conv", "plain"]


@dataclass(frozen=True)
class StudentConfig:
    """Shapes of one student. Everything that the contract fixes (256 channels, 100 queries, ...) is not repeated here.

    name: published size, also the file name of its package.
    width: channels of the transformer blocks. blocks: how many. heads: of their attention, 64 channels each.
    patch_embed: `conv` = stem of stride 16 shaped like EfficientNet-Lite0's first eleven blocks (starts from ImageNet
        weights); `plain` = the 16 x 16 patches of the methodology, for the ablation.
    decoder_layers, decoder_heads: of the mask decoder (methodology section 5.1: three layers of 256 dimensions).
    """

    name: str
    width: int
    blocks: int
    heads: int
    patch_embed: PatchEmbedding = "conv"
    decoder_layers: int = 3
    decoder_heads: int = 8
    decoder_hidden: int = 1024

    def __post_init__(self) -> None:
        positive = (self.width, self.blocks, self.heads, self.decoder_layers, self.decoder_heads, self.decoder_hidden)
        if min(positive) < 1 or self.width % self.heads or self.width % 4 or max(positive) > 4096 or self.blocks > 64:
            raise ContractError(
                explain(
                    f"student {self.name!r}",
                    expected="positive sizes, width a multiple of heads and of 4, at most 64 blocks",
                    got=f"width {self.width}, blocks {self.blocks}, heads {self.heads}",
                    do="use a preset or correct the configuration",
                )
            )
        if self.patch_embed not in ("conv", "plain"):
            raise ContractError(
                explain("patch_embed", expected="conv or plain", got=repr(self.patch_embed), do="choose one of the two")
            )

    def to_dict(self) -> dict[str, str | int]:
        """The configuration as plain data, for a checkpoint's header or a manifest."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: object) -> StudentConfig:
        """The configuration that `to_dict` wrote. Raises CheckpointError for anything else: files are untrusted."""
        known = {"name": str, "width": int, "blocks": int, "heads": int, "patch_embed": str}
        known |= {"decoder_layers": int, "decoder_heads": int, "decoder_hidden": int}
        if not isinstance(data, dict) or set(data) != set(known):
            got = sorted(data) if isinstance(data, dict) else type(data).__name__
            raise CheckpointError(
                explain("student configuration", expected=sorted(known), got=got, do="export the checkpoint again")
            )
        for key, kind in known.items():
            if type(data[key]) is not kind:
                raise CheckpointError(
                    explain(
                        f"student configuration {key}",
                        expected=kind.__name__,
                        got=repr(data[key])[:80],
                        do="export the checkpoint again",
                    )
                )
        try:
            return cls(**data)
        except ContractError as error:
            raise CheckpointError(str(error)) from error


PRESETS = {
    # Encoder parameters in millions: nano 1.7, tiny 5.2, small 12.8, base 38.4 (tests hold them to 5 %).
    "nano": StudentConfig("nano", width=192, blocks=2, heads=3),
    "tiny": StudentConfig("tiny", width=192, blocks=10, heads=3),
    "small": StudentConfig("small", width=320, blocks=10, heads=5),
    "base": StudentConfig("base", width=512, blocks=12, heads=8),
}
