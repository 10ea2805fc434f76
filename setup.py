"""Build the one compiled part, the CRF's mean field; all else is in pyproject.toml."""

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

setup(
    ext_modules=[
        Pybind11Extension(
            "bpg.inference._mean_field",
            ["bpg/inference/mean_field.cpp"],
            cxx_std=17,
            extra_compile_args=FLAGS,
        )
    ]
)
