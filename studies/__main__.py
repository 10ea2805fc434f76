"""Run a study: `python -m studies NAME [--jobs N] [-S KEY=VALUE ...]`, NAME of studies/NAME.yaml.

Each setting is one `dvc exp run --temp`, which works in a copy of the checkout: the files here stay
as they are, and every stage that is in DVC's cache is reused, so that an interrupted study resumes
where it stopped. With `--jobs N`, N at a time, through DVC's queue. The table and its chart go to
results/studies/.
"""

import sys
from pathlib import Path

from bpg.errors import BPGError
from bpg.strict_yaml import read_as
from pipeline.params import Switches
from pipeline.paths import ROOT, STUDIES
from pipeline.variants import read_labels, read_variants
from studies.results import write_study
from studies.run import (
    is_untracked,
    read_study,
    refuse_overlap,
    run_queued,
    run_setting,
    with_changes,
)

FOLDER = Path(__file__).parent


def main() -> None:
    """Run every setting, then write the table.

    Raises:
        BPGError: The command line or a parameter file is wrong, or a setting failed.
    """
    known = ", ".join(sorted(path.stem for path in FOLDER.glob("*.yaml")))
    usage = f"usage: python -m studies NAME [--jobs N] [-S KEY=VALUE ...], NAME one of {known}"
    jobs = 1
    match sys.argv[1:]:
        case ["-h" | "--help"]:
            print(usage)
            return
        case [name, "--jobs", number, *rest] if not name.startswith("-"):
            if not number.isdecimal() or not 1 <= int(number) <= 1024:
                raise BPGError(f"--jobs {number!r} is not a whole number from 1 to 1024")
            jobs, extra = int(number), rest[1::2]
        case [name, *rest] if not name.startswith("-"):
            extra = rest[1::2]
        case _:
            raise BPGError(usage)
    if rest[0::2] != ["-S"] * len(extra) or len(rest) % 2:
        raise BPGError(f"after the name only -S KEY=VALUE is understood; {usage}")
    if not (FOLDER / f"{name}.yaml").is_file():
        raise BPGError(f"unknown study {name!r}; {usage}")
    variants = read_variants(ROOT / "params/variants.yaml")
    labels = read_labels(ROOT / "params/labels.yaml", variants)
    study = read_study(FOLDER / f"{name}.yaml", variants)
    switches = with_changes(read_as(ROOT / "params.yaml", Switches), extra)
    refuse_overlap(study, switches, extra)
    if is_untracked(ROOT / "dvc.lock"):
        print(
            "dvc.lock is not in git, so that each setting fetches and prepares the data anew; "
            "commit your first run to avoid that: git add dvc.lock results && git commit"
        )
    marks = {setting: f"{name}-{number}" for number, setting in enumerate(study.settings, 1)}
    if jobs > 1:
        found = run_queued(study, marks, jobs, switches, variants, extra)
    else:
        found = {}
        for place, (setting, mark) in enumerate(marks.items(), start=1):
            print(f"{name} {setting} ({place} of {len(marks)})", flush=True)
            found[setting] = run_setting(study, setting, mark, switches, variants, extra)
    path = write_study(STUDIES, name, study, found, switches, extra, labels)
    print(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    try:
        main()
    except BPGError as error:
        sys.exit(f"studies: error: {error}")
    except KeyboardInterrupt:
        sys.exit("studies: interrupted; the same command resumes from here")
