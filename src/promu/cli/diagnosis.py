"""`promu doctor`."""

from __future__ import annotations

from promu.cli.console import print_json


def doctor(*, json: bool = False) -> int:
    """Say what is installed, which device and precision will be used, and what is broken.

    Exit status 2 when something is broken; each broken thing comes with its remedy.

    Args:
        json: Print JSON instead of lines.
    """
    from promu.doctor import diagnose

    findings = diagnose()
    broken = any(finding.status == "broken" for finding in findings)
    if json:
        print_json({"ok": not broken, "findings": [finding.to_dict() for finding in findings]})
        return 2 if broken else 0
    marks = {"ok": "ok", "note": "note", "broken": "BROKEN"}
    for finding in findings:
        print(f"{marks[finding.status]:>6}  {finding.name}: {finding.value}")
        if finding.remedy is not None:
            print(f"        remedy: {finding.remedy}")
    print("something is broken, see above" if broken else "all is well")
    return 2 if broken else 0
