"""Faults put into real runs, and what came of them: ``python -m tests.faults``."""
