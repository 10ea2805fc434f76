"""Measure what each scribble variant costs, as ratios to the scribble baseline in the same run.

    python -m bench.training_step [RECIPE] [ROUNDS] [MIXING]

The stage cost with other recipes, more rounds or another mixing of the PRN; `bpg.cost`
says what the figures are. The data set's classes are VOC's for recipes small and paper.
"""

import sys

from bpg.variants import VARIANTS
from pipeline.params import Dataset, Parameters, Recipe, Switches, read_section
from pipeline.paths import ROOT
from stages.cost import measure_variants


def read(recipe: str, mixing: str | None) -> Parameters:
    dataset = "shapes" if recipe == "tiny" else "voc"
    values = read_section(ROOT / f"params/recipe/{recipe}.yaml", Recipe).model_dump()
    if mixing is not None:
        values["model"]["prn"]["mixing"] = mixing
    switches = read_section(ROOT / "params.yaml", Switches)
    return Parameters(
        switches=switches.model_copy(update={"recipe": recipe, "device": "auto"}),
        dataset=read_section(ROOT / f"params/dataset/{dataset}.yaml", Dataset),
        recipe=Recipe.model_validate(values),
    )


def main() -> None:
    recipe = sys.argv[1] if len(sys.argv) > 1 else "tiny"
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 15
    parameters = read(recipe, sys.argv[3] if len(sys.argv) > 3 else None)
    names = [name for name, variant in VARIANTS.items() if variant.supervision == "scribbles"]
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
