"""What takes longest begins first, so that with several processes nothing is left for the end."""

pytest_plugins = ["tests.archives", "tests.browsers", "tests.colours", "tests.workspaces"]

LONGEST = ("test_pipeline.py", "test_chaos.py", "test_concurrency.py", "test_fuzz.py")


def pytest_collection_modifyitems(items):
    rank = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(LONGEST)))
