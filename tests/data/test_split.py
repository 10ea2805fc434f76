from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from bpg.data.split import draw, hold_out_strokes


def test_a_share_of_the_names_at_least_one():
    names = [f"i{n}" for n in range(100)]
    assert len(draw(names, 0.2, 0)) == 20
    assert len(draw(names[:3], 0.1, 0)) == 1
    assert draw(names, 0.2, 0) == draw(reversed(names), 0.2, 0)
    assert draw(names, 0.2, 0) != draw(names, 0.2, 1)
    # One more image moves at most one of the others out.
    assert len(draw(names, 0.2, 0) - draw([*names, "new"], 0.2, 0)) <= 1


tags = st.lists(st.sampled_from(["ground", "cat", "dog", None]), min_size=0, max_size=5)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), tags, max_size=8))
def test_every_class_keeps_a_stroke_and_gives_one_if_it_has_two(images):
    chosen = hold_out_strokes(images, 0.2, 0)
    total = Counter(tag for listed in images.values() for tag in listed if tag)
    out = Counter(images[name][place] for name, place in chosen)
    assert None not in out
    assert all(out[tag] < total[tag] for tag in total)
    assert all(out[tag] <= -(-total[tag] // 5) for tag in total)
    if sum(len([t for t in listed if t]) for listed in images.values()) > 0:
        several = [tag for tag in total if total[tag] > 1]
        assert bool(chosen) <= bool(several)
    assert chosen == hold_out_strokes(dict(reversed(images.items())), 0.2, 0)


def test_images_keep_a_stroke_where_others_can_give_one():
    images = {"single": ["cat"], **{f"i{n}": ["cat", "cat", "ground"] for n in range(9)}}
    for seed in range(20):
        chosen = hold_out_strokes(images, 0.2, seed)
        assert not any(name == "single" for name, _ in chosen)
        assert all(sum(name == one for name, _ in chosen) < 3 for one in images)
        assert sum(images[name][place] == "cat" for name, place in chosen) == 4


def test_where_every_image_has_one_stroke_some_images_give_theirs():
    images = {f"i{n}": ["cat" if n % 2 else "ground"] for n in range(10)}
    assert len(hold_out_strokes(images, 0.2, 0)) == 2


def test_strokes_keep_their_place_when_images_are_added():
    images = {f"i{n}": ["cat", "ground", "cat"] for n in range(50)}
    before = hold_out_strokes(images, 0.2, 0)
    after = hold_out_strokes({**images, "new": ["cat", "ground"]}, 0.2, 0)
    assert len(before - after) <= 4
