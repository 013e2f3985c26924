"""Text from a language model.

`decode.py` generates, `grammar.py` constrains it, `label_scoring.py` scores labels; `cache.py` and `attention.py`
spare copies of keys and values.
"""
