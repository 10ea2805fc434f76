"""Building blocks of options: numbers with limits, in dataclasses that refuse unknown names.

    @dataclass(frozen=True, config=NO_EXTRA)
    class SomeOptions:
        weight: NonNegative

An option class stands beside the code that it is for. Its fields are keys of the parameter files.
"""

from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field

NO_EXTRA = ConfigDict(extra="forbid")


def _no_truth_value(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"must be a number (found {str(value).lower()})")
    return value


NUMBER = BeforeValidator(_no_truth_value)
"""Refuses truth values: YAML's `yes` does not mean 1."""
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), NUMBER]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False), NUMBER]
Share = Annotated[float, Field(gt=0, le=1), NUMBER]
Count = Annotated[int, Field(ge=1), NUMBER]
Seed = Annotated[int, Field(ge=0, lt=2**32), NUMBER]
