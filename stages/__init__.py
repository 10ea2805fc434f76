"""One short script a stage of dvc.yaml, run as `python -m stages.NAME`."""

import os

# Read when PyTorch loads: idle threads sleep instead of spinning, which costs a factor of 2 to 15
# wherever another job runs beside this one.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
