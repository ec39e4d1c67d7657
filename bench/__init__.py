"""``make bench``: how fast this is, beside what its users would otherwise run, on the same input in the same run.

A *row* is one thing that is measured (``bench.rows``, a module each). It prepares its input from a seed, and names its
*contestants*: ours first, then the peers (``bench.peers``: each written as a good user of that library would write
it). ``bench.harness`` runs them in turn, round after round, and takes medians; ``bench.places`` starts the servers.
``docs/bench.md`` says how to read what comes out.
"""
