"""Build the compiled parts, mean field and superpixels; all else is in pyproject.toml."""

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

PARTS = {
    "bpg.inference._mean_field": "bpg/inference/mean_field.cpp",
    "bpg.propagation._regions": "bpg/propagation/regions.cpp",
}

setup(
    ext_modules=[
        Pybind11Extension(name, [source], cxx_std=17, extra_compile_args=FLAGS)
        for name, source in PARTS.items()
    ]
)
