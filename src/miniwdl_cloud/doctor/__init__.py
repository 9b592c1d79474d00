"""`miniwdl-cloud doctor`: what of a deployment would keep tasks from running, found beforehand.

It only looks. Each check is a generator of findings over `facts.Facts`; `examine.py` runs them all.
"""
