"""Build the compiled parts: mean field, superpixels, a convolution; else see pyproject.toml."""

import hashlib
from pathlib import Path

from pybind11.setup_helpers import Pybind11Extension
from setuptools import setup

# None of these reorders or contracts arithmetic: equal bits on every processor. The code has no
# NaN, no signed zeros that matter, and reads no errno.
FLAGS = [
    "-O3",
    "-ffp-contract=off",
    "-ffinite-math-only",
    "-fno-math-errno",
    "-fno-signed-zeros",
    "-fno-trapping-math",
]

# Not inside the package `bpg`: a copy of the checkout (`dvc exp run --temp`) has no built files
# and still finds these.
PARTS = {
    "_bpg_depthwise": "bpg/models/depthwise.cpp",
    "_bpg_mean_field": "bpg/inference/mean_field.cpp",
    "_bpg_regions": "bpg/propagation/regions.cpp",
}


def extension(name: str, source: str) -> Pybind11Extension:
    """Describe one; its SOURCE is the digest by which `bpg.compiled` knows what it was built of."""
    digest = hashlib.sha256(Path(source).read_bytes()).hexdigest()
    macros = [("SOURCE", f'"{digest}"')]
    return Pybind11Extension(
        name, [source], cxx_std=17, extra_compile_args=FLAGS, define_macros=macros
    )


setup(ext_modules=[extension(name, source) for name, source in PARTS.items()])
