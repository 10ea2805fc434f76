"""Checkouts of every kind: what works, and what is said of what cannot."""

import re
import shutil
import subprocess
import sys

import pytest

from pipeline.check import problems


@pytest.fixture
def repository(tmp_path, checkout, run):
    """A git repository with two commits and no data."""
    folder = checkout(tmp_path / "repository")
    run(folder, "git", "init", "--quiet")
    for number in (1, 2):
        (folder / "note").write_text(f"{number}\n")
        run(folder, "git", "add", "--all")
        run(folder, "git", "commit", "--quiet", "--message", str(number))
    return folder


def shallow(run, repository, folder):
    run(repository, "git", "clone", "--quiet", "--depth", "1", f"file://{repository}", str(folder))
    return folder


def detached(run, repository, folder):
    run(repository, "git", "clone", "--quiet", str(repository), str(folder))
    run(folder, "git", "checkout", "--quiet", "--detach", "HEAD~1")
    return folder


def worktree(run, repository, folder):
    run(repository, "git", "worktree", "add", "--quiet", "--detach", str(folder))
    return folder


def submodule(run, repository, folder):
    folder.mkdir()
    run(folder, "git", "init", "--quiet")
    allowed = ("-c", "protocol.file.allow=always")
    run(folder, "git", *allowed, "submodule", "add", "--quiet", str(repository), "inside")
    return folder / "inside"


def windows_line_ends(run, repository, folder):
    convert = ("-c", "core.autocrlf=true")
    run(repository, "git", *convert, "clone", "--quiet", str(repository), str(folder))
    return folder


@pytest.mark.parametrize("make", [shallow, detached, worktree, submodule, windows_line_ends])
def test_dvc_runs_stages_and_experiments_in_every_kind_of_checkout(make, run, repository, tmp_path):
    folder = make(run, repository, tmp_path / "checkout")
    assert list(problems(folder)) == []
    assert b"\r" not in (folder / "stages/prepare.py").read_bytes()
    # In the place of fetch, which needs the network.
    for name in ("archives", "weights/hed", "weights/tiny"):
        place = folder / "data" / (f"shapes/{name}" if name == "archives" else name)
        place.mkdir(parents=True)
        (place / "README").write_text("nothing\n")
    run(folder, "dvc", "commit", "--quiet", "--force", "fetch")
    run(folder, "dvc", "repro", "--quiet", "scribbles")
    width = "params/dataset/shapes.yaml:scribbles.line_width=5"
    # HOME is read-only, and git knows nobody's name.
    bare = {"HOME": "/proc/none", "GIT_AUTHOR_NAME": "", "GIT_COMMITTER_NAME": ""}
    run(folder, "dvc", "exp", "run", "--quiet", "-S", width, "scribbles", **bare)
    assert len(list((folder / "data/shapes/scribbles").iterdir())) == 8


@pytest.mark.parametrize("name", ["data", "runs", "results"])
def test_a_symbolic_link_is_named_before_dvc_refuses_it(repository, tmp_path, name):
    shutil.rmtree(repository / name, ignore_errors=True)
    (repository / name).symlink_to(tmp_path)
    (line,) = problems(repository)
    assert line.startswith(f"{name}: a symbolic link")


def test_fetch_says_so_before_it_begins(repository, tmp_path, tools):
    shutil.rmtree(repository / "data", ignore_errors=True)
    (repository / "data").symlink_to(tmp_path / "elsewhere")
    found = tools.call(repository, "fetch")
    assert found.code == 1
    assert found.error.startswith("fetch: error: data: a symbolic link")
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_that_is_no_checkout_is_named(tmp_path, run, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    (line,) = problems(tmp_path)
    assert line.startswith(f"{tmp_path}: not a git checkout")
    # Half of the remedy.
    run(tmp_path, "git", "init", "--quiet")
    (line,) = problems(tmp_path)
    assert line.startswith(f"{tmp_path}: a git repository without a commit")


def test_another_users_checkout_is_named_with_the_remedy(repository, monkeypatch):
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    (line,) = problems(repository)
    assert line.endswith(f"git config --global --add safe.directory {repository}")


def test_a_machine_without_git_is_named(repository, monkeypatch):
    monkeypatch.setenv("PATH", "")
    (line,) = problems(repository)
    assert line.startswith("git: ")


def check(folder, environment):
    command = [sys.executable, "-m", "pipeline.check"]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_the_command_names_all_and_fails(repository, tools, environment, tmp_path):
    tools.edit(repository / "params.yaml", {"lambda": -1})
    shutil.rmtree(repository / "runs", ignore_errors=True)
    (repository / "runs").symlink_to(tmp_path)
    done = check(repository, environment)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert [line.split(": ")[2] for line in lines] == ["params.yaml", "runs"]
    assert all(line.startswith("check: error: ") for line in lines)


def test_files_that_are_not_in_use_and_variants_in_no_list_are_warned_of(
    repository, tools, environment
):
    tools.edit(repository / "params/recipe/paper.yaml", {"training.batch": 10})
    done = check(repository, environment)
    assert done.returncode == 0, done.stderr
    assert "check: warning: params/recipe/paper.yaml: training.batch: is now called" in done.stdout
    assert re.search(r"not trained, as no list has them: .*\bgatedcrf\b", done.stdout)
