"""Load, kills and damaged files for `tslm serve`."""
