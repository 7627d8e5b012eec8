"""Benchmarks: the same problems through voxridge and its peers, scores beside times. See README.md."""
