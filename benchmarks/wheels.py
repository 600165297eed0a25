"""The wheels that a session on a card needs where nothing can be fetched.

    python benchmarks/wheels.py FOLDER

Isotherm's own, built of this checkout, and the pure Python packages that a machine for numerical
work may lack or have older, at the versions of constraints.txt and benchmarks/requirements.txt.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
CARRIED = [
    "array-api-compat", "array-api-strict", "execnet", "iniconfig", "platformdirs", "pluggy",
    "pytest", "pytest-xdist", "torchebm",
]  # fmt: skip


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.whl"):
        old.unlink()
    pip = [sys.executable, "-m", "pip", "--quiet"]
    packages = [str(path.parent) for path in sorted(ROOT.glob("packages/*/pyproject.toml"))]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", folder, *packages], check=True)
    pinned = {}
    for file in (ROOT / "constraints.txt", ROOT / "benchmarks/requirements.txt"):
        for line in file.read_text(encoding="utf-8").splitlines():
            name, _, version = line.partition("==")
            pinned.setdefault(name, version)
    wanted = [f"{name}=={pinned[name]}" if name in pinned else name for name in CARRIED]
    download = ["download", "--no-deps", "--only-binary=:all:", "--dest", folder]
    subprocess.run([*pip, *download, *wanted], check=True)
    print(*sorted(path.name for path in folder.glob("*.whl")), sep="\n")


if __name__ == "__main__":
    main()
