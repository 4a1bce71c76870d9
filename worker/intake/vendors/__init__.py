"""Vendors' webhooks as events of ours: one module and one pure function a vendor."""
