"""Training of the curriculum.

`train.py` is the entry point, `plan.py` says where runs lie and which run one starts from, `train_stage.py` trains one
curriculum stage, `evaluate_stage.py` validates and scores it, and `processes.py` sets up one or several processes.
`package.py` puts a trained checkpoint into the package, with the card of `package_card.py`.
"""
