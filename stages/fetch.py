"""Fetch archives and published weights, each checked against its checksum."""

from pathlib import Path

from bpg.atomic import write_text
from bpg.download.archives import obtain
from bpg.download.weights import BACKBONES, HED
from bpg.errors import BPGError
from pipeline.check import links
from pipeline.params import Parameters, VOCSource
from pipeline.paths import HED_WEIGHTS, ROOT, backbone_folder, data_layout
from pipeline.run_stage import run_stage


def fetch(parameters: Parameters) -> None:
    """Fill `data/<dataset>/archives` and the folders of weights."""
    for problem in links(ROOT):
        raise BPGError(problem)
    switches = parameters.switches
    archives = data_layout(switches.dataset).archives
    source = parameters.dataset.source
    if isinstance(source, VOCSource):
        for archive in (source.voc, source.sbd, source.scribbles):
            obtain(
                archive.name,
                archive.url,
                archive.checksum or None,
                archives,
                switches.mirror or None,
            )
    else:
        _nothing(archives, f"the data set {switches.dataset} needs no archive")
    HED.fetch(HED_WEIGHTS, switches.mirror)
    backbone = backbone_folder(switches.recipe)
    if parameters.recipe.model.weights:
        BACKBONES[parameters.recipe.model.weights].fetch(backbone, switches.mirror)
    else:
        _nothing(backbone, f"the recipe {switches.recipe} starts from scratch")


def _nothing(folder: Path, why: str) -> None:
    """Say why there is nothing: DVC warns about empty folders all the time."""
    write_text(folder / "README", why + "\n")


if __name__ == "__main__":
    run_stage("fetch", fetch)
