"""All SQL: migrations, the one-transaction writer, readers, and what the server can do."""
