"""Signatures of webhooks: one function a vendor, over the raw bytes of the request."""
