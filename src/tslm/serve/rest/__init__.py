"""The REST service.

`routes.py` its addresses, `service.py` what answers them, `documents.py` what OpenAPI says of the answers, `metrics.py`
figures for Prometheus, `page.py` the page at `/`.
"""
