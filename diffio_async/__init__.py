"""The async-first Python SDK for Diffio."""
