"""One short script per stage, run as `python -m stages.NAME`: nothing else is in this folder."""

import pipeline  # noqa: F401 see `pipeline.early`
