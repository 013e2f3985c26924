"""Division of subjects into training, validation and test data.

`rules.py` assigns the splits, `split.py` defines their type, `folds.py` applies a fold, `leakage.py` finds subjects and
recordings on both sides, and `provenance.py` computes checksums of the data.
"""
