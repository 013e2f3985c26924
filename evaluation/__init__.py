"""Commands that generate, score, smooth, report and compare answers; each is a module with `--help`.

`comparison` puts systems side by side, `grids` trains grids and folds, `benchmarks` times, and `metrics` serves Hugging
Face `evaluate`.
"""
