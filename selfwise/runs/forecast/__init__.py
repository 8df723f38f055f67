"""What a training will probably be worth, judged from measured cases, and what would serve better.

`cases.csv` has the cases, one row each; `cases.py` explains its columns.
"""
