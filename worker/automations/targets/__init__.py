"""The tools that are acted on, a module each. They make requests and read answers; they know no network, clock or secret."""
