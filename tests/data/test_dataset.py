import warnings
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from bpg.data.dataset import TrainingImages
from bpg.data.masks import write_mask
from bpg.data.options import Augmentation
from bpg.errors import BPGError

FILL = (124, 116, 104)
IDS = ["a", "b"]
PLAIN = {"low": 1.0, "high": 1.0, "flip": False}


@pytest.fixture
def folders(tmp_path):
    """Two images of 60x40 pixels: random image and edges, labels of large patches."""
    rng = np.random.default_rng(5)
    for name in ("images", "labels", "edges"):
        (tmp_path / name).mkdir()
    for number, name in enumerate(IDS):
        size = (40, 60)
        write_image(tmp_path / f"images/{name}.png", rng.integers(0, 256, (*size, 3)))
        labels = np.repeat(np.repeat(rng.choice([0, 1, 2, 255], (10, 15)), 4, 0), 4, 1)
        write_mask(tmp_path / f"labels/{name}.png", labels.astype(np.uint8))
        edges = rng.integers(0, 256, size) // (number + 1)
        write_image(tmp_path / f"edges/{name}.png", edges)
    return tmp_path


def write_image(path, array):
    Image.fromarray(array.astype(np.uint8)).save(path)


def read(path):
    return np.asarray(Image.open(path))


class Planar(TrainingImages):
    """The same items, for comparing: image (3, c, c), edges 0..1."""

    def __getitem__(self, key):
        image, labels, edges, valid = super().__getitem__(key)
        return image.permute(2, 0, 1), labels, edges.float() / 255, valid


def pictures(folders, augmentation, *, ids=IDS, edges=True, classes=3, seed=0, cache=False):
    return Planar(
        ids,
        folders / "images",
        folders / "labels",
        folders / "edges" if edges else None,
        augmentation,
        classes=classes,
        seed=seed,
        fill=FILL,
        cache=cache,
    )


def equal(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("crop", [1, 17, 40, 50, 97])
@pytest.mark.parametrize("edges", [True, False])
def test_shapes_and_types(crop, edges, folders):
    data = pictures(folders, Augmentation(crop, 0.5, 1.5, True), edges=edges)
    assert len(data) == 2
    for key in range(6):
        image, labels, edge, valid = TrainingImages.__getitem__(data, key)
        assert (image.shape, image.dtype) == ((crop, crop, 3), torch.uint8)
        assert (labels.shape, labels.dtype) == ((crop, crop), torch.uint8)
        assert (edge.shape, edge.dtype) == ((crop, crop), torch.uint8)
        assert (valid.shape, valid.dtype) == ((crop, crop), torch.bool)
        assert all(item.is_contiguous() for item in (image, labels, edge, valid))
        assert edge.any() or crop == 1 or not edges


def test_tensors_do_not_lie_in_read_only_memory(folders):
    """PyTorch warns the user of such tensors, in the middle of the progress bar."""
    data = pictures(folders, Augmentation(30, 0.5, 1.5, True))
    always = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for key in range(4):
                data[key]
    finally:
        torch.set_warn_always(always)


def place_of(valid):
    """The rectangle that is not padding."""
    rows, columns = valid.nonzero().unbind(1)
    top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    assert valid[top:bottom, left:right].all()
    assert valid.sum() == (bottom - top) * (right - left)
    return slice(top, bottom), slice(left, right)


@pytest.mark.parametrize("key", [0, 1, 2, 13])
def test_without_augmentation_a_picture_comes_back_exactly(key, folders):
    """Scale 1 and a crop as large as the image or larger."""
    name = IDS[key % 2]
    image, labels, edges, valid = pictures(folders, Augmentation(64, **PLAIN))[key]
    place = place_of(valid)
    assert valid.sum() == 40 * 60
    assert np.array_equal(image[:, *place].permute(1, 2, 0), read(folders / f"images/{name}.png"))
    assert np.array_equal(labels[place], read(folders / f"labels/{name}.png"))
    assert np.array_equal(255 * edges[place], read(folders / f"edges/{name}.png"))


def test_a_square_picture_of_the_crops_size_is_returned_as_it_is(folders):
    rng = np.random.default_rng(1)
    for folder, shape in (("images", (33, 33, 3)), ("edges", (33, 33))):
        write_image(folders / folder / "square.png", rng.integers(0, 256, shape))
    mask = rng.choice([0, 1, 2, 255], (33, 33)).astype(np.uint8)
    write_mask(folders / "labels/square.png", mask)
    image, labels, edges, valid = pictures(folders, Augmentation(33, **PLAIN), ids=["square"])[0]
    assert valid.all()
    assert np.array_equal(image.permute(1, 2, 0), read(folders / "images/square.png"))
    assert np.array_equal(labels, mask)
    assert np.array_equal(255 * edges, read(folders / "edges/square.png"))


def test_a_crop_at_scale_1_is_a_window_of_the_picture(folders):
    data = pictures(folders, Augmentation(20, **PLAIN))
    whole = read(folders / "images/a.png")
    labels, edges = read(folders / "labels/a.png"), read(folders / "edges/a.png")
    corners = Counter()
    for epoch in range(30):
        image, label, edge, valid = data[2 * epoch]
        assert valid.all()
        crop = image.permute(1, 2, 0).numpy()
        hits = [
            (y, x)
            for y in range(21)
            for x in range(41)
            if np.array_equal(whole[y : y + 20, x : x + 20], crop)
        ]
        assert len(hits) == 1
        (y, x) = hits[0]
        assert np.array_equal(label, labels[y : y + 20, x : x + 20])
        assert np.array_equal(255 * edge, edges[y : y + 20, x : x + 20])
        corners[hits[0]] += 1
    assert len(corners) > 20, "windows are not random"
    rows, columns = zip(*corners, strict=True)
    assert min(rows) < 5
    assert max(rows) > 15
    assert min(columns) < 10
    assert max(columns) > 30


def test_padding_is_mean_colour_unlabelled_without_edge_and_not_valid(folders):
    data = pictures(folders, Augmentation(97, 0.5, 1.5, True))
    places = set()
    for key in range(20):
        image, labels, edges, valid = data[key]
        place = place_of(valid)
        places.add((place[0].start.item(), place[1].start.item()))
        assert (~valid).any()
        assert (image.permute(1, 2, 0)[~valid] == torch.tensor(FILL, dtype=torch.uint8)).all()
        assert (labels[~valid] == 255).all()
        assert not edges[~valid].any()
    assert len(places) > 15, "the image's place in the crop is not random"


def test_flip_turns_everything_alike(folders):
    """The same draws with and without flip: where they differ, they are mirrored."""
    straight = pictures(folders, Augmentation(50, **PLAIN | {"flip": False}))
    flipped = pictures(folders, Augmentation(50, **PLAIN | {"flip": True}))
    whole = {name: read(folders / f"images/{name}.png") for name in IDS}
    turned = 0
    for key in range(40):
        image, labels, edges, valid = flipped[key]
        mirrored = [x.flip(-1) for x in (image, labels, edges, valid)]
        name = IDS[key % 2]
        found = [
            side
            for side, (i, m, e, v) in enumerate([(image, labels, edges, valid), mirrored])
            if shows(whole[name], i, v)
            and shows(read(folders / f"labels/{name}.png"), m, v)
            and shows(read(folders / f"edges/{name}.png"), (255 * e).byte(), v)
        ]
        assert len(found) == 1, "the planes were turned apart"
        turned += found[0]
        assert shows(whole[name], straight[key][0], straight[key][3])
    assert 10 <= turned <= 30


def shows(whole, crop, valid):
    """Whether the crop's valid part is a window of the image `whole`, all rows of it."""
    rows, columns = place_of(valid)
    crop = crop[..., rows, columns].numpy()
    crop = crop.transpose(1, 2, 0) if crop.ndim == 3 else crop
    width = crop.shape[1]
    return crop.shape[0] == whole.shape[0] and any(
        np.array_equal(whole[:, x : x + width], crop) for x in range(whole.shape[1] - width + 1)
    )


def test_labels_are_never_mixed(folders):
    data = pictures(folders, Augmentation(60, 0.5, 2.0, True))
    for key in range(20):
        source = set(np.unique(read(folders / f"labels/{IDS[key % 2]}.png")))
        assert set(data[key][1].unique().tolist()) <= source | {255}


@pytest.mark.parametrize("scale", [0.5, 0.75, 1.3, 2.0])
@pytest.mark.parametrize("crop", [45, 130])
def test_image_labels_and_edges_stay_on_top_of_each_other(scale, crop, folders):
    """A white square, labelled and edged as such, is found at one place in all planes."""
    square = np.zeros((40, 60), np.uint8)
    square[11:29, 17:41] = 1
    write_image(folders / "images/a.png", np.repeat(255 * square[..., None], 3, 2))
    write_mask(folders / "labels/a.png", square)
    write_image(folders / "edges/a.png", 255 * square)
    data = pictures(folders, Augmentation(crop, scale, scale, True), ids=["a"])
    areas = []
    for key in range(8):
        image, labels, edges, valid = data[key]
        bright = image[0].float()[valid] / 255
        label = labels[valid].float()
        assert set(label.unique().tolist()) <= {0.0, 1.0}
        # Nearest and bilinear differ by half a pixel's worth along the outline only.
        assert (bright - label).abs().max() <= 0.76
        assert ((bright - label).abs() > 0.01).float().mean() < 0.15
        assert (edges[valid] - bright).abs().max() < 0.01
        # No shift: what is missing inside and what sticks out is in balance on every side.
        if crop == 130:
            areas.append(label.sum().item())
            points = [
                torch.nonzero(valid & (x > 0.5)).float() for x in (labels == 1, image[0] / 255)
            ]
            centre = [p.mean(0) for p in points]
            assert (centre[0] - centre[1]).abs().max() < 0.51
            weight = image[0].float() * valid
            rows, columns = (torch.arange(crop) * weight.sum(d) for d in (1, 0))
            fine = torch.stack([rows.sum(), columns.sum()]) / weight.sum()
            assert (centre[0] - fine).abs().max() < 0.51
    if crop == 130:
        assert np.mean(areas) == pytest.approx(18 * 24 * scale**2, rel=0.12)


@pytest.mark.parametrize("scale", [0.6, 0.85, 1.3, 1.9])
def test_a_scaled_window_starts_at_a_whole_pixel_of_the_scaled_picture(scale, folders):
    """A ramp stays one, of the scaled slope: its samples are where the scaled pixels are."""
    ramp = np.broadcast_to(4 * np.arange(60)[None, :, None], (40, 60, 3))
    write_image(folders / "images/a.png", ramp)
    crop = 20
    data = pictures(folders, Augmentation(crop, scale, scale, False), ids=["a"])
    scaled = round(60 * scale)
    for key in range(10):
        row = data[key][0][0, crop // 2].double()
        # The first and last pixels of the image average less.
        inner = (row > 10) & (row < 226)
        where = torch.arange(crop, dtype=torch.float64)[inner]
        expected = [
            4 * ((where + start + 0.5) * 60 / scaled - 0.5) for start in range(scaled - crop + 1)
        ]
        assert min((row[inner] - e).abs().max() for e in expected) < 0.8


def test_scales_fill_their_range(folders):
    data = pictures(folders, Augmentation(200, 0.5, 1.5, False), ids=["a"])
    found = np.array([data[key][3].sum().item() / (40 * 60) for key in range(60)]) ** 0.5
    assert 0.49 <= found.min() < 0.6
    assert 1.4 < found.max() <= 1.51
    # Width and height are scaled by one factor.
    for key in range(5):
        rows, columns = place_of(data[key][3])
        ratio = (columns.stop - columns.start) / (rows.stop - rows.start)
        assert ratio.item() == pytest.approx(1.5, abs=0.06)


def test_draw_follows_from_seed_epoch_and_item(folders):
    augmentation = Augmentation(30, 0.5, 1.5, True)
    data, again = (pictures(folders, augmentation) for _ in range(2))
    order = [5, 0, 3, 0, 2]
    backwards = [again[key] for key in reversed(order)][::-1]
    for key, item in zip(order, backwards, strict=True):
        assert equal(data[key], item), "what came before has changed the draw"
    assert not equal(data[0], data[2]), "epochs see the same crop"
    assert not equal(data[0], pictures(folders, augmentation, seed=1)[0])
    # Two items of the same content are drawn apart.
    twins = pictures(folders, augmentation, ids=["a", "a"])
    assert not equal(twins[0], twins[1])


def test_cache_gives_the_same_items_and_reads_once(folders):
    augmentation = Augmentation(30, 0.5, 1.5, True)
    plain, cached = (pictures(folders, augmentation, cache=c) for c in (False, True))
    first = [plain[key] for key in range(6)]
    assert all(equal(cached[key], first[key]) for key in range(6))
    for name in IDS:
        (folders / f"images/{name}.png").unlink()
    assert all(equal(cached[key], first[key]) for key in range(6))
    with pytest.raises(BPGError):
        plain[0]


def test_without_edge_maps_edges_are_zero_and_the_rest_the_same(folders):
    augmentation = Augmentation(30, 0.5, 1.5, True)
    with_, without = (pictures(folders, augmentation, edges=e) for e in (True, False))
    for key in range(4):
        image, labels, edges, valid = without[key]
        assert not edges.any()
        assert equal((image, labels, valid), [with_[key][n] for n in (0, 1, 3)])


def test_jpeg_images_are_read(folders):
    Image.open(folders / "images/a.png").save(folders / "images/a.jpg")
    (folders / "images/a.png").unlink()
    image, *_, valid = pictures(folders, Augmentation(64, **PLAIN))[0]
    jpeg = read(folders / "images/a.jpg")
    assert np.array_equal(image[:, *place_of(valid)].permute(1, 2, 0), jpeg)


@pytest.mark.parametrize("plane", ["labels", "edges"])
def test_another_size_than_the_image_is_an_error_that_names_both(plane, folders):
    path = folders / plane / "b.png"
    write = write_mask if plane == "labels" else write_image
    write(path, np.zeros((40, 59), np.uint8))
    with pytest.raises(BPGError, match=r"59x40 .*b\.png 60x40") as caught:
        pictures(folders, Augmentation(30, **PLAIN))[1]
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("strange", [3, 7, 254])
def test_a_label_beyond_the_classes_is_an_error_that_names_the_file(strange, folders):
    path = folders / "labels/a.png"
    labels = read(path).copy()
    labels[3, 4] = strange
    write_mask(path, labels)
    with pytest.raises(BPGError, match=rf"label {strange};.* 0\.\.2 ") as caught:
        pictures(folders, Augmentation(30, **PLAIN))[0]
    assert str(path) in str(caught.value)
    if strange == 3:
        pictures(folders, Augmentation(30, **PLAIN), classes=4)[0]


@pytest.mark.parametrize("plane", ["images", "labels", "edges"])
def test_missing_and_cut_off_files_are_named(plane, folders):
    path = folders / plane / "a.png"
    content = path.read_bytes()
    data = pictures(folders, Augmentation(30, **PLAIN))
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(BPGError, match=str(path)):
        data[0]
    path.unlink()
    with pytest.raises(BPGError, match=rf"{folders / plane}.*a\.png"):
        data[0]
