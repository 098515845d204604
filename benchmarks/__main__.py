"""`python -m benchmarks [speed|latency|accuracy|sources|plausible|squeeze|cascade|scale|all] [--json OUT]`: print
tables, write JSON.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from benchmarks import accuracy, cascade, latency, plausible, scale, sources, speed, squeeze

parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
parser.add_argument(
    "what",
    nargs="?",
    default="all",
    choices=("speed", "latency", "accuracy", "sources", "plausible", "squeeze", "cascade", "scale", "all"),
)
parser.add_argument("--json", type=Path, help="file to write the tables to")
chosen = parser.parse_args()
runs = {
    "speed": speed.run,
    "latency": latency.run,
    "accuracy": accuracy.run,
    "sources": sources.run,
    "plausible": plausible.run,
    "squeeze": squeeze.run,
    "cascade": cascade.run,
    "scale": scale.run,
}
tables = [table for name, run in runs.items() if chosen.what in (name, "all") for table in run()]
if chosen.json:
    chosen.json.write_text(json.dumps([asdict(table) for table in tables], indent=1) + "\n")
