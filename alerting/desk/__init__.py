"""What is done about alerts once they are there: who is not told, who is told again, and by when. Data, no I/O."""
