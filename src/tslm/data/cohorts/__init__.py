"""Cohorts of raw recordings, described by one YAML file each.

`cohort.py` reads that file and finds the recordings, `nights.py` reads one night, `montage.py` chooses and converts its
channels, and `subject_table.py` reads tables of subjects.
"""
