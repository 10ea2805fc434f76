"""Small files as the annotation tools write them, with what real ones hold beside strokes.

Each function takes strokes and returns a file's content. What a tool cannot draw becomes what its
users draw instead: a line in COCO or Label Studio is a brush mask, 3 pixels wide. With `extras`,
the file has the tool's other shapes and oddities too; `EXTRAS` says what a reader must count.

After: the examples in labelme's repository, CVAT's documentation of its XML, COCO's
`instances_val2017.json` and the COCO files of CVAT and Label Studio, the test data of
label-studio-converter, VOC's and the LabelMe web tool's XML.
"""

import base64
import io
import json
from xml.sax.saxutils import quoteattr

import numpy as np
from PIL import Image

from bpg.data.formats.rle import encode_coco
from bpg.data.strokes import Area, Line, Pixels, Stroke, Strokes, covered, paint
from tests.data.formats.encoders import encode_coco_text, encode_cvat, encode_label_studio

LINE_WIDTH = 3

BLOT = np.array([[0, 1, 1, 0], [1, 1, 1, 1], [0, 1, 1, 0]], bool)

FIRST = Strokes(
    40,
    30,
    (
        Stroke("background", Line(((2.5, 2.5), (30.0, 4.25), (37.0, 9.5)))),
        Stroke("cat", Line(((10.5, 15.5), (20.5, 18.0)))),
        Stroke("größe-2", Area((((25.0, 12.0), (36.0, 13.0), (31.5, 24.0)),))),
        Stroke("0", Pixels(4, 22, BLOT)),
    ),
)
SECOND = Strokes(24, 18, (Stroke("cat", Line(((12.0, 9.0), (3.0, 4.0)))),))

IMAGES = {"café 1.jpg": FIRST, "more/b.png": SECOND}
"""Strokes by the images' names; one is in a folder."""

EXTRAS = {
    "labelme": {
        "rectangle": 1,
        "circle": 1,
        "linestrip without a label": 1,
        "polygon with fewer than 3 points": 1,
    },
    "cvat": {"box": 1, "tag": 1, "skeleton": 1, "track": 1, "polyline without a label": 1},
    "coco": {"box": 1, "keypoints": 1},
    "label_studio": {
        "rectanglelabels": 1,
        "keypointlabels": 1,
        "choices": 1,
        "relation": 1,
        "draft": 1,
        "prediction": 2,
        "cancelled annotation": 1,
        "brush without a label": 1,
    },
    "label_studio_min": {"rectanglelabels": 1, "keypointlabels": 1},
}

EMAIL = "someone@example.org"


def photo(width, height):
    """A JPEG of this size."""
    rng = np.random.default_rng(0)
    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (height, width, 3), np.uint8)).save(file, "JPEG")
    return file.getvalue()


def brush(stroke, strokes):
    """What a stroke covers, bool (H, W)."""
    canvas = np.zeros((strokes.height, strokes.width), np.uint8)
    paint(canvas, covered(stroke.shape, strokes.width, strokes.height, LINE_WIDTH), 1)
    return canvas == 1


def dumped(document):
    return json.dumps(document, ensure_ascii=False, indent=2).encode()


def labelme(name, strokes, *, extras=False, old=False, embedded=False):
    """One image; `old` is how labelme wrote before 2019, on Windows: polygons only."""
    shapes = [labelme_shape(stroke) for stroke in strokes.strokes]
    if extras:
        shapes += [
            labelme_other("cat", "rectangle", [1.0, 1.0], [9.0, 8.0]),
            labelme_other("cat", "circle", [10.0, 10.0], [12.5, 10.0]),
            labelme_other("", "linestrip", [1.0, 1.0], [9.0, 8.0]),
            labelme_other("cat", "polygon", [1.0, 1.0], [9.0, 8.0]),
        ]
    image = base64.b64encode(photo(strokes.width, strokes.height)).decode() if embedded else None
    if old:
        old_shapes = [
            {"label": shape["label"], "line_color": None, "fill_color": None, **points(shape)}
            for shape in shapes
            if shape["shape_type"] == "polygon"
        ]
        path = "..\\images\\" + name.replace("/", "\\")
        colours = {"lineColor": [0, 255, 0, 128], "fillColor": [255, 0, 0, 128]}
        return dumped({"shapes": old_shapes, **colours, "imagePath": path, "imageData": image})
    return dumped(
        {
            "version": "5.5.0",
            "flags": {"checked": True},
            "shapes": shapes,
            "imagePath": name,
            "imageData": image,
            "imageHeight": strokes.height,
            "imageWidth": strokes.width,
        }
    )


def points(shape):
    return {"points": shape["points"]}


def labelme_shape(stroke):
    mask = None
    match stroke.shape:
        case Line(corners):
            kind = "linestrip" if len(corners) > 2 else "line" if len(corners) == 2 else "point"
        case Area((corners,)):
            kind = "polygon"
        case Pixels(left, top, pixels):
            kind = "mask"
            height, width = pixels.shape
            # The corners are those of the last pixels, and moved masks have fractions.
            corners = ((left + 0.25, top + 0.5), (left + width - 0.75, top + height - 0.5))
            file = io.BytesIO()
            Image.fromarray(pixels.astype(np.uint8)).save(file, "PNG")
            mask = base64.b64encode(file.getvalue()).decode()
    label = {None: "__ignore__", "background": "_background_"}.get(stroke.tag, stroke.tag)
    return {**labelme_other(label, kind, *map(list, corners)), "mask": mask}


def labelme_other(label, kind, *corners):
    return {
        "label": label,
        "points": list(corners),
        "group_id": 1,
        "description": "",
        "shape_type": kind,
        "flags": {"difficult": True},
        "mask": None,
    }


def cvat(images, *, extras=False, where="task"):
    """Several images; `where` has the labels: project, task, job, or None for nowhere."""
    tags = dict.fromkeys(stroke.tag for strokes in images.values() for stroke in strokes.strokes)
    labels = [cvat_label(tag) for tag in tags]
    if extras:
        labels += [
            cvat_label("hand", kind="skeleton"),
            cvat_label("1", kind="points", parent="hand"),
            cvat_label("unused"),
        ]
    listed = f"<{where}><labels>{''.join(labels)}</labels></{where}>" if where else ""
    parts = [
        '<?xml version="1.0" encoding="utf-8"?>',
        "<annotations>",
        "  <version>1.1</version>",
        f"  <meta>{listed}<dumped>2026-01-01 12:00:00+00:00</dumped></meta>",
    ]
    for number, (name, strokes) in reversed(list(enumerate(images.items()))):
        last = extras and number == 0
        parts.append(
            f'  <image id="{number}" name={quoteattr(name)} width="{strokes.width}" '
            f'height="{strokes.height}">'
        )
        # The order of drawing is z_order's; CVAT's is that of the shapes' ids.
        shapes = [cvat_shape(stroke, order) for order, stroke in enumerate(strokes.strokes)]
        parts += reversed(shapes)
        parts += CVAT_EXTRAS if last else []
        parts.append("  </image>")
    if extras:
        parts.append(
            '<track id="0" label="cat" source="manual"><polyline frame="0" keyframe="1" outside="0"'
            ' occluded="0" points="1.00,2.00;3.00,4.00" z_order="0"></polyline></track>'
        )
    parts.append("</annotations>\n")
    return "\n".join(parts).encode()


CVAT_EXTRAS = [
    '<box label="cat" source="manual" occluded="0" xtl="1.00" ytl="2.00" xbr="9.50" ybr="8.00" '
    'z_order="0"></box>',
    '<tag label="cat" source="manual"></tag>',
    '<skeleton label="hand" source="manual" z_order="0">'
    '<points label="1" source="manual" outside="0" occluded="0" points="5.00,6.00"></points>'
    "</skeleton>",
    '<polyline label="" source="manual" occluded="0" points="1.00,2.00;3.00,4.00" z_order="9">'
    "</polyline>",
]


def cvat_label(name, kind="any", parent=None):
    below = f"<parent>{parent}</parent>" if parent else ""
    return (
        f"<label><name>{name}</name><color>#ff0000</color><type>{kind}</type>"
        f"<attributes></attributes>{below}</label>"
    )


def cvat_shape(stroke, order):
    rest = f'label={quoteattr(stroke.tag)} source="manual" occluded="0" z_order="{order}"'
    match stroke.shape:
        case Line(corners):
            kind = "points" if len(corners) == 1 else "polyline"
        case Area((corners,)):
            kind = "polygon"
        case Pixels(left, top, mask):
            return (
                f'<mask {rest} rle="{encode_cvat(mask)}" left="{left}" top="{top}" '
                f'width="{mask.shape[1]}" height="{mask.shape[0]}"></mask>'
            )
    text = ";".join(f"{x:.2f},{y:.2f}" for x, y in corners)
    return f'<{kind} {rest} points="{text}"><attribute name="a">b</attribute></{kind}>'


def coco(images, *, extras=False, compressed=True):
    """Several images; brush masks come with iscrowd 1, ids begin with 0 and have gaps."""
    tags = list(
        dict.fromkeys(stroke.tag for strokes in images.values() for stroke in strokes.strokes)
    )
    annotations = []
    for number, strokes in enumerate(images.values()):
        for stroke in strokes.strokes:
            annotations.append(
                {
                    "id": len(annotations),
                    "image_id": 3 * number,
                    "category_id": 2 * tags.index(stroke.tag),
                    **coco_shape(stroke, strokes, compressed),
                    "bbox": [1.0, 1.0, 5.0, 5.0],
                    "area": 25.0,
                }
            )
    categories = [
        {"id": 2 * number, "name": tag, "supercategory": ""} for number, tag in enumerate(tags)
    ]
    if extras:
        whole = {"image_id": 0, "category_id": 0, "iscrowd": 0, "bbox": [1.0, 1.0, 5.0, 5.0]}
        annotations += [
            {"id": 90, **whole, "segmentation": []},
            {"id": 91, **whole, "keypoints": [3, 3, 2], "num_keypoints": 1},
        ]
        categories.append({"id": 99, "name": "unused", "supercategory": "none"})
    return dumped(
        {
            "info": {"year": "", "description": "", "contributor": ""},
            "licenses": [{"id": 0, "name": "", "url": ""}],
            "images": [
                {
                    "id": 3 * number,
                    "width": strokes.width,
                    "height": strokes.height,
                    "file_name": name,
                    "license": 0,
                    "coco_url": "",
                }
                for number, (name, strokes) in enumerate(images.items())
            ],
            "annotations": annotations,
            "categories": categories,
        }
    )


def coco_shape(stroke, strokes, compressed):
    if isinstance(stroke.shape, Area):
        outlines = [np.ravel(outline).tolist() for outline in stroke.shape.outlines]
        return {"iscrowd": 0, "segmentation": outlines}
    mask = brush(stroke, strokes)
    counts = encode_coco_text(mask) if compressed else encode_coco(mask)
    size = [strokes.height, strokes.width]
    return {"iscrowd": 1, "segmentation": {"counts": counts, "size": size}}


def label_studio(images, *, extras=False):
    """Several tasks as JSON; the first brush region of each is two results with one id."""
    tasks = []
    for number, (name, strokes) in enumerate(images.items(), 1):
        results = []
        for count, stroke in enumerate(strokes.strokes):
            split = count == 0 and not isinstance(stroke.shape, Area)
            results += ls_results(stroke, strokes, f"r{number}-{count}", split)
        tasks.append(ls_task(number, name, results, strokes, extras and number == 1))
    return dumped(tasks)


def ls_task(number, name, results, strokes, extras):
    annotations = [ls_annotation(10 * number, results)]
    drafts, predictions = [], []
    if extras:
        others = ls_extras(strokes)
        annotations[0]["result"] = [*others, *results]
        cancelled = ls_annotation(10 * number + 1, results)
        annotations.append({**cancelled, "was_cancelled": True})
        drafts = [{"id": 5, "user": EMAIL, "result": results}]
        predictions = [{"model_version": "a", "score": 0.5, "result": results}] * 2
    upload = f"{number:08x}-{name.rsplit('/', 1)[-1].replace(' ', '_')}"
    return {
        "id": number,
        "annotations": annotations,
        "file_upload": upload,
        "drafts": drafts,
        "predictions": predictions,
        "data": {"image": ls_url(name)},
        "meta": {},
        "inner_id": number,
        "total_annotations": len(annotations),
        "project": 1,
    }


def ls_url(name):
    """The image in a local storage, which is how folders of images are annotated."""
    quoted = "".join(
        c
        if c.isascii() and (c.isalnum() or c in "./-_")
        else "".join(f"%{b:02X}" for b in c.encode())
        for c in name
    )
    return f"/data/local-files/?d=photos/{quoted}"


def ls_annotation(number, results):
    return {
        "id": number,
        "completed_by": {"id": 1, "email": EMAIL, "first_name": "", "last_name": ""},
        "result": results,
        "was_cancelled": False,
        "ground_truth": False,
        "created_at": f"2026-01-01T00:00:{number % 60:02}.000000Z",
        "lead_time": 12.5,
    }


def ls_results(stroke, strokes, identity, split=False):
    head = {
        "original_width": strokes.width,
        "original_height": strokes.height,
        "image_rotation": 0,
        "id": identity,
        "to_name": "image",
        "origin": "manual",
    }
    if isinstance(stroke.shape, Area):
        (outline,) = stroke.shape.outlines
        percent = [[100 * x / strokes.width, 100 * y / strokes.height] for x, y in outline]
        value = {"points": percent, "closed": True, "polygonlabels": [stroke.tag]}
        return [{**head, "value": value, "from_name": "polygon", "type": "polygonlabels"}]
    code = encode_label_studio(brush(stroke, strokes) * np.uint8(255))
    value = {"format": "rle", "rle": code}
    if split:
        return [
            {**head, "value": value, "from_name": "brush", "type": "brush"},
            {
                **head,
                "value": {**value, "labels": [stroke.tag]},
                "from_name": "labels",
                "type": "labels",
            },
        ]
    labelled = {**value, "brushlabels": [stroke.tag]}
    return [{**head, "value": labelled, "from_name": "tag", "type": "brushlabels"}]


def ls_extras(strokes):
    head = {
        "original_width": strokes.width,
        "original_height": strokes.height,
        "image_rotation": 0,
        "to_name": "image",
    }
    box = {"x": 5, "y": 5, "width": 20.5, "height": 10, "rotation": 0, "rectanglelabels": ["cat"]}
    dot = {"x": 5, "y": 5, "width": 0.3, "keypointlabels": ["cat"]}
    code = encode_label_studio(np.full((strokes.height, strokes.width), 255, np.uint8))
    return [
        {**head, "id": "x1", "from_name": "box", "type": "rectanglelabels", "value": box},
        {**head, "id": "x2", "from_name": "dot", "type": "keypointlabels", "value": dot},
        {
            "id": "x3",
            "from_name": "light",
            "to_name": "image",
            "type": "choices",
            "value": {"choices": ["dark"]},
        },
        {"from_id": "x1", "to_id": "x2", "type": "relation", "direction": "right"},
        {
            **head,
            "id": "x4",
            "from_name": "tag",
            "type": "brushlabels",
            "value": {"format": "rle", "rle": code, "brushlabels": []},
        },
    ]


def label_studio_min(images, *, extras=False):
    """Several tasks as JSON_MIN: results have neither types nor ids."""
    records = []
    for task in json.loads(label_studio(images)):
        strokes = list(images.values())[task["id"] - 1]
        results = task["annotations"][0]["result"]
        if extras and task["id"] == 1:
            results = [*ls_extras(strokes)[:2], *results]
        record = {**task["data"], "id": task["id"], "light": "dark"}
        for result in results:
            size = {key: result[key] for key in ("original_width", "original_height")}
            record.setdefault(result["from_name"], []).append({**result["value"], **size})
        records.append(
            {
                **record,
                "annotator": 1,
                "annotation_id": task["annotations"][0]["id"],
                "created_at": "2026-01-01T00:00:00.000000Z",
                "updated_at": "2026-01-01T00:00:00.000000Z",
                "lead_time": 12.5,
            }
        )
    return dumped(records)


def scribblesup(name, strokes):
    """One image; lines only, as in ScribbleSup's archive."""
    polygons = "".join(
        f"<polygon><tag>{stroke.tag}</tag>"
        + "".join(
            f"<point><X>{x - 0.5:g}</X><Y>{y - 0.5:g}</Y></point>" for x, y in stroke.shape.points
        )
        + "</polygon>"
        for stroke in strokes.strokes
        if isinstance(stroke.shape, Line)
    )
    return (
        f"<annotation><folder>a</folder><filename>{name}</filename><size><width>{strokes.width}"
        f"</width><height>{strokes.height}</height><depth>3</depth></size>"
        f"<segmented>1</segmented>{polygons}</annotation>"
    ).encode()


def voc_boxes():
    return (
        b"<annotation><folder>VOC2012</folder><filename>2007_000027.jpg</filename><source>"
        b"<database>The VOC2007 Database</database></source><size><width>486</width>"
        b"<height>500</height><depth>3</depth></size><segmented>0</segmented><object><name>person"
        b"</name><pose>Unspecified</pose><truncated>0</truncated><difficult>0</difficult><bndbox>"
        b"<xmin>174</xmin><ymin>101</ymin><xmax>349</xmax><ymax>351</ymax></bndbox></object>"
        b"</annotation>"
    )


def labelme_web():
    return (
        b"<annotation><filename>a.jpg</filename><folder>users/a</folder><source><submittedBy>A B"
        b"</submittedBy></source><imagesize><nrows>30</nrows><ncols>40</ncols></imagesize><object>"
        b"<name>book</name><deleted>0</deleted><verified>0</verified><id>0</id><polygon><username/>"
        b"<pt><x>2</x><y>3</y></pt><pt><x>16</x><y>3</y></pt><pt><x>17</x><y>20</y></pt></polygon>"
        b"</object></annotation>"
    )
