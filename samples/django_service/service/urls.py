"""Paths of the service."""

from django.urls import path

from . import views

urlpatterns = [
    path("recordings", views.upload),
    path("recordings/<slug:generation_id>", views.result),
    path("webhooks/diffio", views.webhook),
]
