"""Acts on what the worker publishes: tasks, mails, contracts to sign, and the state of leads in other tools."""
