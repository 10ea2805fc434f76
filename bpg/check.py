"""What `bpg check` does: read a folder, say what is in it and what is wrong, draw it."""

from pathlib import Path

from bpg.data.findings import Finding
from bpg.data.folder import Folder, read_folder
from bpg.data.folder_checks import check_folder
from bpg.data.folder_split import Split, split_folder
from bpg.data.folder_summary import summarise_folder
from bpg.data.options import FolderOptions
from bpg.errors import BPGError
from bpg.report.contact_sheet import write_contact_sheet


def check(
    root: Path,
    options: FolderOptions,
    *,
    classes: tuple[str, ...],
    line_width: int,
    longest_side: int | None,
    sheet: Path | None,
) -> bool:
    """Print what a folder holds and what is wrong with it, and write a contact sheet.

    Args:
        root: The folder.
        options: How it is read.
        classes: Class names, background first; empty: from the folder.
        line_width: Of lines, in pixels of the shrunk image.
        longest_side: Images are shrunk to it.
        sheet: Where to write the contact sheet; None: nowhere.

    Returns:
        Whether nothing stops a training.

    Raises:
        BPGError: There is no such folder, or no image in it.
    """
    folder = read_folder(
        root, options, classes=classes, line_width=line_width, longest_side=longest_side
    )
    split, findings = _divided(folder)
    summary = summarise_folder(folder, split)
    print(summary)
    print()
    for finding in sorted(findings, key=_severity):
        print(f"{finding.level}: {finding.text}")
    if sheet is not None:
        write_contact_sheet(sheet, folder, split, findings, summary)
        print(f"\nimages and strokes: {sheet.resolve()}")
    errors = sum(finding.level == "error" for finding in findings)
    if errors:
        print(f"\n{errors} error{'s' if errors > 1 else ''}: fix before training")
    return not errors


def _divided(folder: Folder) -> tuple[Split | None, list[Finding]]:
    findings, split = list(folder.findings), None
    try:
        split = split_folder(folder)
    except BPGError as error:
        if not any(finding.level == "error" for finding in findings):
            findings.append(Finding("error", str(error)))
    return split, [*findings, *check_folder(folder, split)]


def _severity(finding: Finding) -> int:
    return ("error", "warning", "note").index(finding.level)
