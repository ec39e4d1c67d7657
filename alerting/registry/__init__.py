"""What is known of vessels and devices beside what they send."""
