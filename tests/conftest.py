"""What takes longest begins first, so that with several processes nothing is left for the end."""

import os

from hypothesis import HealthCheck, settings

# What a user's shell, a hook of git or a batch system sets decides nothing here.
for name in list(os.environ):
    if name.startswith(("GIT_", "DVC", "SLURM_")) and name != "SLURM_CONF":
        del os.environ[name]
for name in ("LAUNCH", "RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
    os.environ.pop(name, None)
for name in ("no_proxy", "NO_PROXY"):
    os.environ[name] = ",".join(filter(None, (os.environ.get(name), "127.0.0.1,localhost")))

# A busy machine is no fault. The same examples every time, so that a failure comes from the
# commit; BPG_SEARCH=1 tries others.
settings.register_profile(
    "any",
    deadline=None,
    derandomize=not os.environ.get("BPG_SEARCH"),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("any")

pytest_plugins = ["tests.archives", "tests.browsers", "tests.colours", "tests.workspaces"]

LONGEST = ("test_pipeline.py", "test_chaos.py", "test_concurrency.py", "test_fuzz.py")


def pytest_collection_modifyitems(items):
    rank = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(LONGEST)))
