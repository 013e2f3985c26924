"""Layers and losses, without knowledge of sleep or text.

`front_ends.py` and `patch_encoder.py` encode a series, `context.py` is the sequence network over epochs, `projector.py`
and `resampler.py` lead to the language model, and `losses.py` holds the classification loss.
"""
