"""What all parts of the engine share: a batch as they see it, when we could hear, and what comes of it."""
