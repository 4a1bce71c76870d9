"""One person under several ids: aliases, addresses, accounts, and states merged."""
