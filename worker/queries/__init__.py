"""The read side: leads, persons and dead letters, without a command line around them."""
