"""Records: what was measured, kept small in records/, and every page that quotes it written from there.

`record.Record` is a folder; `kinds/` has a file for each kind of measurement, which takes what hotlap left,
says what it comes to and draws its pages again; `pages.py` and `results.py` write Markdown.
"""
