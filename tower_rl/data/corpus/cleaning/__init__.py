"""Steps from RECORDS to RECORDS between the sources and the templates.

A step is a function from table to table, pure but for the models and files that it reads. It passes over rows that are dropped
already, and drops a row by `dropped = "STEP: CLASS"` and `detail`. On a row in use, `detail` holds notes `STEP: WHAT`, which are
counted too.
"""
