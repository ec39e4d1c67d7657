"""Real servers for tests, and what stands between a test and a server: proxies and targets it can command."""
