"""The REST service.

`service.py` its routes, `documents.py` what they answer, `metrics.py` figures for Prometheus, `page.py` the page.
"""
