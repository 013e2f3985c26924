"""Checkpoints: `checkpoint.py` saves and loads one, `resume.py` continues a run, `ranking.py` keeps the best three.

`onnx_graphs.py` writes a trained scorer or encoder for use without torch.
"""
