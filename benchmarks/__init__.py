"""Speed and accuracy of the map beside the rules of other open maps: `python -m benchmarks [speed|accuracy|all]`."""
