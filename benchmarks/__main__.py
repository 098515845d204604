"""`python -m benchmarks [speed|accuracy|all] [--json OUT]`: print the tables, and write them as JSON."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from benchmarks import accuracy, speed

parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
parser.add_argument("what", nargs="?", default="all", choices=("speed", "accuracy", "all"))
parser.add_argument("--json", type=Path, help="file to write the tables to")
chosen = parser.parse_args()
tables = (speed.run() if chosen.what != "accuracy" else []) + (accuracy.run() if chosen.what != "speed" else [])
if chosen.json:
    chosen.json.write_text(json.dumps([asdict(table) for table in tables], indent=1) + "\n")
