"""The language model: `backbone.py` loads it with its adapters, `store.py` finds its weights."""
