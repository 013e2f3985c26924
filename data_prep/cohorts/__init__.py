"""Cohorts: `cohort.py` prepares recordings described by a YAML file, `simulated.py` simulated people and rodents."""
