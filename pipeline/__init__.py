"""Everything that knows DVC and where this repository's files are; `bpg` knows neither."""

import pipeline.early  # noqa: F401
