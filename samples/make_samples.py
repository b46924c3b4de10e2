"""Render the sample pictures: `python samples/make_samples.py [--out DIR] [names...]`."""

import argparse
from pathlib import Path

from _dunes import dunes
from _landscapes import lake
from _page import page
from _roofs import roofs
from _stilllife import still_life
from _wall import wall

SCENES = {"lake": lake, "still_life": still_life, "page": page, "wall": wall, "dunes": dunes, "roofs": roofs}


def main():
    """Render the named scenes (all of them by default) as PNG files."""
    parser = argparse.ArgumentParser(description="Render the sample pictures.")
    parser.add_argument("names", nargs="*", metavar="name", help=f"scenes to render, of: {', '.join(SCENES)}")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write to")
    args = parser.parse_args()
    if unknown := set(args.names) - set(SCENES):
        parser.error(f"unknown scene: {', '.join(sorted(unknown))}")
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.names or SCENES:
        picture = SCENES[name]()
        picture.save(args.out / f"{name}.png", optimize=True)
        print(f"{name}.png: {picture.width}x{picture.height}")


if __name__ == "__main__":
    main()
