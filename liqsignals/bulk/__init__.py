"""Columns and scores of a whole exchange: one pair a worker, on all cores or on a Dask cluster."""
