"""All SQL: migrations, the one-transaction writer, readers, and what the server can do."""

import logging

# Every attempt at a connection during an outage is a warning of psycopg's pool. Ours is to say the edge once; without
# this, Python prints theirs to standard error where a program has not set logging up.
logging.getLogger("psycopg").addHandler(logging.NullHandler())
