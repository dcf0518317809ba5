"""Rows of corpora on their way to training, as Arrow tables, so that Ray Data can stream them.

    files --readers--> RECORDS --cleaning--> RECORDS --instructions--> RECORDS --tokenize--> TOKENS --pack--> packs

Every step is a pure function from table to table. A step that drops a row leaves it in the table and says why in `dropped` and
`detail`; the steps behind it pass over such rows. So whatever is lost is counted and can be looked at.
"""

import pyarrow as pa

MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))

RECORDS = pa.schema(
    [
        ("id", pa.string()),  # CORPUS/..., stable and unique in the run
        ("corpus", pa.string()),  # name of the entry of data.corpora
        ("licence", pa.string()),
        ("kind", pa.string()),  # text, pair or chat: which of the columns below count
        ("language", pa.string()),  # as in data/languages.py, e.g. de, pt_BR; of a pair en-de; "" where nobody said
        ("text", pa.string()),  # of kind text, else ""
        ("original", pa.string()),  # of kind pair, else ""
        ("translation", pa.string()),  # of kind pair, else ""
        ("messages", MESSAGES),  # of kind chat, else empty; roles are system, user, assistant
        ("document", pa.string()),  # neighbours of one document share it; "" for a row that has none
        ("position", pa.int64()),  # inside the document
        ("dropped", pa.string()),  # "" while the row is in use, else the reason as `STEP: CLASS`, by which losses are counted
        ("detail", pa.string()),  # what about this row; while it is in use, notes such as `scrubbed: 2 e-mail`
    ]
)

TOKENS = pa.schema(
    [
        ("id", pa.string()),
        ("corpus", pa.string()),
        ("language", pa.string()),
        ("held_out", pa.bool_()),
        ("token_ids", pa.list_(pa.int32())),
        ("trained", pa.list_(pa.bool_())),  # whether the token is learned; never the first, which nothing predicts
        ("dropped", pa.string()),
        ("detail", pa.string()),
    ]
)
