"""Options of the network's parts; can be imported without loading PyTorch."""

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from bpg.options import NO_EXTRA, NUMBER, Count

AsppRate = Annotated[int, Field(ge=1, le=64), NUMBER]
Channels = Literal["foreground", "all_channels"]
Mixing = Literal["mixed", "shared", "grouped"]
Source = Literal["probabilities", "logits"]


@dataclass(frozen=True, config=NO_EXTRA)
class PRNOptions:
    """Options of the PRN: number of ×2 steps, hidden channels, mixing.

    `width` is the hidden channels of a step, `low_width` those of the low-level branch.
    """

    steps: Annotated[int, Field(ge=1, le=3), NUMBER]
    width: Count
    low_width: Count
    mixing: Mixing


@dataclass(frozen=True, config=NO_EXTRA)
class BRNOptions:
    """Options of the BRN: what its convolutions see, their hidden channels, their number."""

    source: Source
    width: Count
    depth: Count


@dataclass(frozen=True, config=NO_EXTRA)
class BRNArchitecture(BRNOptions):
    """`BRNOptions` and the channels, which the variant chooses: foreground/background or all."""

    channels: Channels
