"""Speed and accuracy of the map, compared with the rules of other open-source maps: `python -m benchmarks`."""
