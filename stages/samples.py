"""Run the first seed's models on a few training images, for Figures 1 and 5.

Only training images have strokes and edge maps to show beside the predictions.
"""

from tqdm import tqdm

from bpg.atomic import whole_directory
from bpg.data.ids import read_ids
from bpg.data.masks import image_path, read_image, write_grey, write_mask
from bpg.devices import choose_bf16, choose_device, set_up
from bpg.inference.multiscale import predict_edges
from bpg.models.network import Network
from bpg.report.examples import choose_images
from pipeline.params import Parameters
from pipeline.paths import SAMPLE_IMAGES, SAMPLES, data_layout
from pipeline.run_stage import run_stage
from pipeline.segment import class_probabilities, load_model


def samples(parameters: Parameters) -> None:
    """Write `results/samples/{train.txt,masks/VARIANT/ID.png,edges/VARIANT/ID.png}`."""
    switches = parameters.switches
    data = data_layout(switches.dataset)
    seed, machine = switches.seeds[0], parameters.recipe.machine
    device = choose_device(switches.device)
    set_up(device, threads=machine.threads, seed=seed)
    bf16 = choose_bf16(machine.bf16, device)
    ids = read_ids(data.train)
    chosen = choose_images(ids, data.masks, min(SAMPLE_IMAGES, len(ids)))
    with whole_directory(SAMPLES) as folder:
        (folder / "train.txt").write_text("".join(f"{name}\n" for name in chosen))
        for variant in tqdm(switches.variants.all, unit="model", desc="samples"):
            model = load_model(parameters, variant, seed)
            if isinstance(model, Network):
                model.to(device)
            (folder / "masks" / variant).mkdir(parents=True)
            brn = model if isinstance(model, Network) and model.brn is not None else None
            if brn is not None:
                (folder / "edges" / variant).mkdir(parents=True)
            for name in chosen:
                image = read_image(image_path(data.images, name))
                probabilities = class_probabilities(
                    model, image, parameters.recipe.inference, device=device, bf16=bf16
                )
                labels = probabilities.argmax(0).byte().cpu().numpy()
                write_mask(folder / "masks" / variant / f"{name}.png", labels)
                if brn is not None:
                    edge = predict_edges(brn, image, device=device, bf16=bf16)
                    write_grey(folder / "edges" / variant / f"{name}.png", edge)


if __name__ == "__main__":
    run_stage("samples", samples)
