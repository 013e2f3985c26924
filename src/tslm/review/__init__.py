"""The local page on which clinicians judge explanations.

`page.py` builds the page, `service.py` answers its requests, `store.py` keeps the reviews, `agreement.py` measures how
far reviewers agree, and `hypnograms.py` gives a reviewer's stages back as a hypnogram.
"""
