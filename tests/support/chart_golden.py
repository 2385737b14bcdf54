"""What the chart makes of given values, kept to be compared with: `python -m tests.support.chart_golden` writes it."""

from __future__ import annotations

from pathlib import Path

from tests.support.helm import ROOT, render

GOLDEN = {
    ROOT / "deploy/manifests/fnmesh.yaml": ROOT / "deploy/manifests/values.yaml",
    ROOT / "tests/golden/chart/all.yaml": ROOT / "tests/golden/chart/all.values.yaml",
}
"""Manifests, and the values that they were made of."""


def rendered(values: Path) -> str:
    """The file that belongs to these values."""
    shown = values.relative_to(ROOT)
    return f"# Made of deploy/chart and {shown} by `make manifests`; not by hand.\n{render(values)}"


def main() -> None:
    for manifests, values in GOLDEN.items():
        manifests.write_text(rendered(values))


if __name__ == "__main__":
    main()
