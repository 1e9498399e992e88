"""Receiving webhooks: is a delivery genuine, and what does it say?"""
