"""Options of the network's parts; without PyTorch, for those who only read them."""

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from bpg.options import NUMBER, STRICT, Count

AsppRate = Annotated[int, Field(ge=1, le=64), NUMBER]
Channels = Literal["foreground", "all_channels"]
Mixing = Literal["mixed", "shared", "grouped"]
Source = Literal["probabilities", "logits"]


@dataclass(frozen=True, config=STRICT)
class PRNOptions:
    """Number of ×2 steps, hidden channels of a step and of the low-level branch, mixing."""

    steps: Annotated[int, Field(ge=1, le=3), NUMBER]
    width: Count
    low_width: Count
    mixing: Mixing


@dataclass(frozen=True, config=STRICT)
class BRNOptions:
    """What the convolutions see, their hidden channels and number."""

    source: Source
    width: Count
    depth: Count


@dataclass(frozen=True, config=STRICT)
class BRNArchitecture(BRNOptions):
    """The same and, by variant, the channels: foreground and background, or all classes."""

    channels: Channels
