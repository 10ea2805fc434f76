import pytest

from bpg.data.folder_pngs import PngNames, Reading, unclear

IMAGES = ["a.jpg", "a.webp", "my.jpg", "my_cat.jpg", "sub/1.tif"]


def readings(name, *files, classes=("cat",), class_folders=True):
    names = PngNames(IMAGES, [name, *files], classes, class_folders=class_folders)
    return names.readings(name)


@pytest.mark.parametrize(
    ("name", "images", "tag"),
    [
        ("my.png", ["my.jpg"], None),
        ("my.jpg.png", ["my.jpg"], None),
        ("a.png", ["a.jpg", "a.webp"], None),
        ("a.webp.png", ["a.webp"], None),
        ("a.webp/cat.png", ["a.webp"], "cat"),
        ("my/dog.png", ["my.jpg"], "dog"),
        ("my__dog.png", ["my.jpg"], "dog"),
        ("my dog.png", ["my.jpg"], "dog"),
        ("my_cat_dog.png", ["my_cat.jpg"], "dog"),  # the longest image
        ("my_cat.jpg.png", ["my_cat.jpg"], None),
        ("my.jpg/cat.png", ["my.jpg"], "cat"),
        ("cat/my.png", ["my.jpg"], "cat"),
        ("dog/my.png", ["my.jpg"], None),  # a folder of maps
        ("1.png", ["sub/1.tif"], None),
        ("1_dog.png", ["sub/1.tif"], "dog"),
        ("sub/1_dog.png", ["sub/1.tif"], "dog"),
    ],
)
def test_a_name_says_image_and_class(name, images, tag):
    assert readings(name) == [Reading(images, tag)]


def test_several_folders_beside_each_other_are_classes():
    assert readings("dog/my.png", "cow/my.png") == [Reading(["my.jpg"], "dog")]
    apart = readings("dog/my.png", "cow/my.png", class_folders=False)
    assert apart == [Reading(["my.jpg"], None)]


def test_a_name_of_no_image_says_nothing():
    assert readings("other.png") == []
    assert readings("_.png") == []


BOTH = [Reading(["my_cat.jpg"], None), Reading(["my.jpg"], "cat")]


def test_a_name_that_fits_two_images_has_two_readings():
    assert readings("my_cat.png") == BOTH
    assert readings("my_cat.png", classes=()) == BOTH[:1]
    assert readings("my_cat.png", "my_cat_cat.png", classes=()) == BOTH


def test_the_names_that_a_message_offers_mean_what_it_says():
    assert unclear(BOTH) == (
        "may be the map of values of my_cat.jpg, or the class cat of my.jpg; call it "
        "my_cat.jpg.png or my.jpg/cat.png"
    )
    for reading in (*BOTH, Reading(["a.webp"], "dog"), Reading(["sub/1.tif"], "a b")):
        (name,) = reading.clear_names()
        assert readings(name) == [reading]
