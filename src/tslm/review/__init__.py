"""The local page on which clinicians judge explanations.

`page.py` builds the page, `service.py` answers its requests, `store.py` keeps the reviews, and `agreement.py` measures
how far reviewers agree.
"""
