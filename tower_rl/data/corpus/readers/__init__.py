"""Readers of corpora: one module per format, each with `files` (the parts that are read apart) and `read` (rows of a part).

`dispatch` chooses the module by the kind of the corpus and makes tables of what it reads.
"""
