"""Get archives and published weights, each checked against its checksum."""

from bpg.data.archives import obtain
from bpg.data.pretrained import BACKBONES, HED
from stages.layout import HED_WEIGHTS, backbone_folder, data_layout
from stages.parameters import Parameters, VOCSource
from stages.stage import run_stage


def fetch(parameters: Parameters) -> None:
    """Fill `data/<dataset>/archives` and the folders of weights."""
    switches = parameters.switches
    archives = data_layout(switches.dataset).archives
    archives.mkdir(parents=True, exist_ok=True)
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
    backbone = backbone_folder(switches.recipe)
    backbone.mkdir(parents=True, exist_ok=True)
    HED.fetch(HED_WEIGHTS.parent, switches.mirror)
    if parameters.recipe.model.weights:
        BACKBONES[parameters.recipe.model.weights].fetch(backbone, switches.mirror)


if __name__ == "__main__":
    run_stage("fetch", fetch)
