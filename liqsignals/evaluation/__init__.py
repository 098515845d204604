"""How right the map is: real liquidations, scores, fits and baselines. Needs the extra `truth`."""
