"""Measure what each scribble variant costs, as ratios to the scribble baseline in the same run.

    python -m bench.training_step [RECIPE] [ROUNDS] [MIXING]

The stage cost with other recipes, more rounds or another mixing of the PRN; `bpg.cost`
says what the figures are. The data set's classes are VOC's for recipes small and paper.
"""

import sys
from dataclasses import replace

from bpg.models.options import Mixing
from pipeline.params import Parameters, read_parameters
from pipeline.paths import ROOT
from stages.cost import measure_variants


def read(recipe: str, mixing: Mixing | None = None) -> Parameters:
    """Read a recipe with the data set that it is for."""
    dataset = "shapes" if recipe == "tiny" else "voc"
    parameters = read_parameters(ROOT, recipe=recipe, dataset=dataset, device="auto")
    if mixing is None:
        return parameters
    model = parameters.recipe.model
    model = model.model_copy(update={"prn": replace(model.prn, mixing=mixing)})
    return replace(parameters, recipe=parameters.recipe.model_copy(update={"model": model}))


def main() -> None:
    recipe = sys.argv[1] if len(sys.argv) > 1 else "tiny"
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 15
    parameters = read(recipe, sys.argv[3] if len(sys.argv) > 3 else None)
    variants = parameters.variants
    names = [name for name in variants if variants[name].supervision == "scribbles"]
    print(f"measuring {len(names)} variants of recipe {recipe} ...", flush=True)
    rows = measure_variants(parameters, names, rounds)
    mixing = parameters.recipe.model.prn.mixing
    print(
        "{recipe}, {hardware}, {threads} threads, {precision}, batch {batch}, crop {crop}, "
        "{classes} classes, PRN {mixing}; × are of {baseline}".format(**rows[0], mixing=mixing)
    )
    for row in rows:
        print(
            f"{row['variant']:18}"
            f"{1000 * float(row['step_seconds']):9.1f} ms × {float(row['time_ratio']):4.2f}"
            f"{row['peak_memory_bytes'] / 1e6:9.1f} MB × {float(row['memory_ratio']):4.2f}"
            f"{row['macs'] / 1e9:9.3f} GMAC × {float(row['macs_ratio']):4.2f}"
            f"{row['parameters']:13,} parameters, {row['parameters_at_test']:,} at test"
        )


if __name__ == "__main__":
    main()
