"""The command `bpg`. Commands import what they need when they run: `--help` loads nothing."""

import functools
import os
import signal
import sys
from collections.abc import Callable
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from bpg.errors import BPGError

app = typer.Typer(
    name="bpg",
    help="Semantic segmentation from scribbles: use, export and inspect trained networks.",
    epilog="bpg COMMAND --help describes a command.",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain text: loads ten times as fast, and pipes into anything
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Device(StrEnum):
    """Where a network runs."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Kind(StrEnum):
    """What is exported."""

    ONNX = "onnx"
    TORCH = "torch"


class PrecisionName(StrEnum):
    """Of an exported file."""

    FP32 = "fp32"
    FP16 = "fp16"


def command(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function the command of its name, with whatever goes wrong said in one line.

    The exit status is 1 for bad input and a lack of resources, 2 for a wrong command line and 130
    after Ctrl-C or SIGTERM.

    Args:
        function: Its parameters are the arguments and options, its docstring is the help.
    """
    name = function.__name__.removesuffix("_")

    @functools.wraps(function)
    def reported(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except BPGError as error:
            _fail(name, str(error))
        except BrokenPipeError:
            # Whoever reads has enough, as `head` does; Python would complain when it flushes.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None
        except OSError as error:
            _fail(name, f"{error.filename or 'a file'}: {error.strerror or error}")
        except MemoryError:
            _fail(name, "the memory is full; close other programs, or give smaller images")
        except KeyboardInterrupt:
            typer.echo(f"bpg {name}: interrupted", err=True)
            raise typer.Exit(130) from None

    return app.command(name)(reported)


def _fail(name: str, message: str) -> None:
    typer.echo(f"bpg {name}: error: {message}", err=True)
    raise typer.Exit(1)


def _print_version(wanted: bool) -> None:
    if wanted:
        try:
            typer.echo(f"bpg {version('bpg')}")
        except PackageNotFoundError:
            typer.echo("bpg, not installed")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    pass


@command
def check(
    folder: Annotated[Path, typer.Argument(help="The folder of your images and strokes.")],
    images: Annotated[str, typer.Option(help="Folder of the images in it.")] = "images",
    strokes: Annotated[
        str, typer.Option(help="Folder of what annotation tools wrote; may be that of the images.")
    ] = "strokes",
    masks: Annotated[str, typer.Option(help="Folder of full masks, if there are any.")] = "masks",
    classes: Annotated[
        str, typer.Option(help="Class names, background first, separated by commas.")
    ] = "",
    unlabelled: Annotated[
        int, typer.Option(help="Value of pixels without a label in PNG strokes: 255 or 0.")
    ] = 255,
    unknown_tags: Annotated[
        str, typer.Option(help="Strokes of other classes: refuse them, or leave them unlabelled.")
    ] = "refuse",
    truth: Annotated[
        str, typer.Option(help="Score on masks or strokes; auto: on masks where there are any.")
    ] = "auto",
    hold_out: Annotated[
        float, typer.Option(help="Share of the strokes, or of the images with masks, to score on.")
    ] = 0.2,
    hold_out_by: Annotated[
        str, typer.Option(help="Hold out single strokes (stroke), or all of an image (image).")
    ] = "stroke",
    seed: Annotated[int, typer.Option(min=0, help="Of what is held out.")] = 0,
    line_width: Annotated[
        int, typer.Option(min=1, max=99, help="Width of lines, in pixels of the shrunk image.")
    ] = 5,
    longest_side: Annotated[
        int, typer.Option(min=0, help="Images are shrunk to this many pixels; 0: as they are.")
    ] = 640,
    tolerance: Annotated[
        int,
        typer.Option(min=0, max=100, help="Pixels that a stroke may leave its object's mask by."),
    ] = 3,
    sheet: Annotated[Path, typer.Option(help="The page of all images with their strokes.")] = Path(
        "bpg-check.html"
    ),
) -> None:
    """Say what a folder of images and strokes holds, and what is wrong with it.

    Reads strokes of labelme, CVAT, COCO, Label Studio, ScribbleSup and PNGs. Ends with status 1 if
    something would stop a training. The options are those of params/dataset/folder.yaml.
    """
    from pydantic import TypeAdapter, ValidationError  # noqa: PLC0415

    from bpg.check import check as check_folder  # noqa: PLC0415
    from bpg.data.options import FolderOptions  # noqa: PLC0415
    from bpg.strict_yaml import first_error  # noqa: PLC0415

    given = {
        "images": images,
        "strokes": strokes,
        "masks": masks,
        "unlabelled": unlabelled,
        "unknown_tags": unknown_tags,
        "truth": truth,
        "tolerance": tolerance,
        "hold_out": hold_out,
        "hold_out_by": hold_out_by,
        "seed": seed,
    }
    try:
        options = TypeAdapter(FolderOptions).validate_python(given)
    except ValidationError as error:
        raise BPGError(f"--{first_error(error).replace('_', '-', 1)}") from error
    sound = check_folder(
        folder,
        options,
        classes=tuple(name.strip() for name in classes.split(",") if name.strip()),
        line_width=line_width,
        longest_side=longest_side or None,
        sheet=sheet,
    )
    if not sound:
        raise typer.Exit(1)


@command
def draw(
    folder: Annotated[Path, typer.Argument(help="The folder of your images.")],
    model: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            "--model", "-m", help="A run such as runs/bpg/0, or an exported file, for the answer."
        ),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: a free one.")] = 0,
    show: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in your browser.")
    ] = True,
) -> None:
    """Draw strokes on your images, on a page that only this machine sees.

    Strokes are saved at once, as labelme files in strokes/drawn, which a training reads with those
    of other tools. Beside them is the answer of a pixel classifier, or of a trained network.
    """
    from bpg.inference.model import needs_torch  # noqa: PLC0415

    with needs_torch("drawing", "train,draw"):
        from bpg.draw.server import serve  # noqa: PLC0415
    serve(folder, model, port, show=show)


@command
def scribble(
    masks: Annotated[
        list[Path],
        typer.Argument(help="Masks, or folders of masks: PNGs of the labels 0..K, 255 unknown."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the strokes; a new one.")],
    formats: Annotated[
        str, typer.Option("--format", "-f", help="png, scribblesup, labelme, coco; with commas.")
    ] = "png",
    classes: Annotated[
        str, typer.Option(help="Class names by label with commas, or a text file of them.")
    ] = "",
    length: Annotated[
        float, typer.Option(help="Share of the way through a region that a stroke runs along.")
    ] = 0.7,
    width: Annotated[float, typer.Option(help="Width of a stroke, in pixels.")] = 3.0,
    share: Annotated[float, typer.Option(help="Share of the regions that get strokes.")] = 1.0,
    jitter: Annotated[
        float, typer.Option(help="How far the hand strays from the middle, from 0 to 1.")
    ] = 0.2,
    min_size: Annotated[
        float, typer.Option(help="Smallest region with strokes, as a share of the image.")
    ] = 0.002,
    background: Annotated[bool, typer.Option(help="Whether label 0 gets strokes, too.")] = True,
    seed: Annotated[int, typer.Option(min=0, help="Another seed is another draw.")] = 0,
) -> None:
    """Draw strokes on masks as a person might: would scribbles have been enough?"""
    from pydantic import ValidationError  # noqa: PLC0415

    from bpg.data.human_strokes import HandOptions  # noqa: PLC0415
    from bpg.data.scribble_masks import class_names, scribble_masks  # noqa: PLC0415
    from bpg.strict_yaml import first_error  # noqa: PLC0415

    try:
        options = HandOptions(
            length=length,
            width=width,
            share=share,
            jitter=jitter,
            min_size=min_size,
            background=background,
        )
    except ValidationError as error:
        raise BPGError(f"--{first_error(error).replace('min_size', 'min-size')}") from error
    found = scribble_masks(
        masks,
        out,
        formats=[one.strip() for one in formats.split(",")],
        classes=class_names(classes) if classes else (),
        options=options,
        seed=seed,
    )
    typer.echo(
        f"{found.strokes:,} strokes on {found.images - found.without:,} of {found.images:,} "
        f"images, {found.labelled:.1f} % of the pixels, in {out}"
    )
    if found.narrow and "scribblesup" in formats:
        typer.echo(f"{found.narrow:,} strokes in thin regions are not in ScribbleSup's files")


@command
def predict(
    images: Annotated[
        list[str],
        typer.Argument(help="Images, folders, or quoted patterns such as 'photos/**/*.jpg'."),
    ],
    model: Annotated[
        Path, typer.Option("--model", "-m", help="A run such as runs/bpg/0, or an exported file.")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the results; made if missing.")
    ],
    crf: Annotated[bool, typer.Option("--crf", help="Refine the labels with the CRF.")] = False,
    overlay: Annotated[
        bool,
        typer.Option(
            "--overlay", help="Write NAME.overlay.jpg (or .png, if very long): image and labels."
        ),
    ] = False,
    device: Annotated[Device, typer.Option(help="Where to run; auto: a GPU if there is one.")] = (
        Device.AUTO
    ),
    tile: Annotated[
        Optional[int],  # noqa: UP045 Typer's own form
        typer.Option(help="Side of a tile, in pixels; larger images are done in tiles."),
    ] = None,
    overlap: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(help="Pixels on each side of a tile that its neighbours see, too."),
    ] = None,
    longest_side: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            help="Shrink images whose longer side has more pixels; 0: none. "
            "By default as the network was trained."
        ),
    ] = None,
) -> None:
    """Segment images.

    Writes a palette PNG of the labels for each image, under its own name, and areas.csv with the
    pixels of each class. JPEG, PNG, TIFF and WebP are read; an exported .onnx needs no PyTorch.
    """
    from pydantic import ValidationError  # noqa: PLC0415

    from bpg.inference.inputs import find_inputs  # noqa: PLC0415
    from bpg.inference.model import open_model  # noqa: PLC0415
    from bpg.inference.predict import predict_files  # noqa: PLC0415
    from bpg.inference.segment import OVERLAP, TILE, SegmentOptions  # noqa: PLC0415
    from bpg.strict_yaml import first_error  # noqa: PLC0415

    try:
        options = SegmentOptions(
            crf=crf,
            tile=TILE if tile is None else tile,
            overlap=OVERLAP if overlap is None else overlap,
            longest_side=longest_side,
        )
    except ValidationError as error:
        raise BPGError(f"--{first_error(error).replace('longest_side', 'longest-side')}") from error
    inputs = find_inputs(images, out)
    opened = open_model(model, device.value)
    wrong = predict_files(opened, inputs, out, options, overlay=overlay)
    done = len(inputs) - len(wrong)
    typer.echo(f"{done} of {len(inputs)} images segmented into {out}")
    if wrong:
        raise typer.Exit(1)


@command
def export(
    model: Annotated[Path, typer.Option("--model", "-m", help="A run such as runs/bpg/0.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file: .onnx, or .pt2 for torch.")],
    kind: Annotated[Kind, typer.Option("--format", "-f", help="What to write.")] = Kind.ONNX,
    images: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help="Images or a folder to verify on; else some photographs of ours."),
    ] = None,
    precision: Annotated[
        PrecisionName, typer.Option(help="fp16 halves an ONNX file.")
    ] = PrecisionName.FP32,
) -> None:
    """Write a trained network as one file for other programs.

    Images of any size go in, RGB from 0 to 255; class names, colours, normalisation and scores are
    inside. The file appears only if it gives the network's labels.
    """
    from bpg.inference.model import needs_torch  # noqa: PLC0415

    with needs_torch("exporting"):
        from bpg.inference.export import (  # noqa: PLC0415
            example_images,
            export_model,
            real_images,
        )

        chosen = real_images(model, images, out) if images else example_images(model)
        verified = export_model(model, out, kind.value, chosen, precision=precision.value)
    typer.echo(f"{out}: {verified.size / 1e6:.1f} MB; {verified}")


@command
def info(
    model: Annotated[Path, typer.Argument(help="A run such as runs/bpg/0, or an exported file.")],
) -> None:
    """Say what a trained network is: classes, data set, scores, commit."""
    from bpg.inference.info import describe_model  # noqa: PLC0415

    lines = describe_model(model)
    width = max(len(what) for what, _ in lines)
    for what, value in lines:
        typer.echo(f"{what:<{width}}  {value}")


def main() -> None:
    """Run the command line."""
    # Batch systems send SIGTERM before they kill; it acts like Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    app()
