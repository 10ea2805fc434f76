"""Any tool's annotations: the format is told by what a file holds."""

from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from bpg.data.formats.annotations import Annotations, parse_json, parse_xml, read_bytes
from bpg.data.formats.coco import coco_strokes, is_coco
from bpg.data.formats.cvat import cvat_strokes, is_cvat
from bpg.data.formats.label_studio import is_label_studio, label_studio_strokes
from bpg.data.formats.labelme import is_labelme, labelme_strokes
from bpg.data.formats.scribblesup import is_scribblesup, read_scribblesup
from bpg.errors import BPGError

_HEAD = 1024
_SPACE = b" \t\r\n"
_JSON_STARTS = (b"{", b"[")
_XML_STARTS = (b"<", b"\xff\xfe<", b"\xfe\xff\0<")
# Of files that don't parse: what annotations have in them, and others hardly.
_JSON_WORDS = (b'"shapes"', b'"annotations"', b'"annotation_id"', b'"segmentation"')
_XML_WORDS = (b"<annotation",)


def read_annotations(path: Path) -> Annotations | None:
    """Read the strokes in a file of ScribbleSup, labelme, CVAT, COCO or Label Studio.

    The file's ending only matters for files that cannot be parsed: a broken `.json` is an error,
    a text that merely begins like JSON is not.

    Returns:
        What the file holds, with its faults; None if it is no file of annotations, such as an
        image, a text, or the JSON of something else.

    Raises:
        BPGError: The file cannot be read, is broken as a whole, or of a known kind without strokes,
            such as VOC's boxes. The message is one line that names the file.
    """
    ending = path.suffix.lower()
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise BPGError(f"{path}: cannot be read ({error.strerror})") from error
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip(_SPACE)
    is_json, is_xml = start.startswith(_JSON_STARTS), start.startswith(_XML_STARTS)
    if is_json or (ending == ".json" and not is_xml):
        return _read_json(read_bytes(path), str(path), ending == ".json")
    if is_xml or ending == ".xml":
        return _read_xml(read_bytes(path), str(path), ending == ".xml")
    return None


def _read_json(data: bytes, name: str, expected: bool) -> Annotations | None:
    try:
        document: Any = parse_json(data, name)
    except BPGError:
        if expected or any(word in data for word in _JSON_WORDS):
            raise
        return None
    for is_one, strokes in (
        (is_labelme, labelme_strokes),
        (is_label_studio, label_studio_strokes),
        (is_coco, coco_strokes),
    ):
        if is_one(document):
            return strokes(document, name)
    return None


def _read_xml(data: bytes, name: str, expected: bool) -> Annotations | None:
    try:
        root = parse_xml(data, name)
    except BPGError:
        if expected or any(word in data for word in _XML_WORDS):
            raise
        return None
    if is_cvat(root):
        return cvat_strokes(root, name)
    if root.tag != "annotation":
        return None
    if is_scribblesup(root):
        return read_scribblesup(data, name)
    raise BPGError(f"{name}: {_other_tool(root)}")


def _other_tool(root: Element) -> str:
    """Say what an <annotation> is that isn't ScribbleSup's, and what to do about it."""
    if root.find("object/polygon") is not None or root.find("imagesize") is not None:
        return (
            "this is the XML of the LabelMe web tool, which is not read; "
            "convert it to labelme's JSON or to COCO"
        )
    if root.find("object/bndbox") is not None:
        return "these are VOC's boxes, which are no strokes; draw strokes, or export masks"
    return "this <annotation> has no strokes of ScribbleSup's, and no other format begins so"
