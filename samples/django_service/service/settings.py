"""Settings of the project; what a deployment chooses is in the environment."""

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("DATA", BASE_DIR / "data"))
(DATA / "media" / "restored").mkdir(parents=True, exist_ok=True)

SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY", "for-this-machine-only")
DEBUG = "DJANGO_SECRET_KEY" not in os.environ
ALLOWED_HOSTS = os.environ.get("DJANGO_HOSTS", "127.0.0.1 localhost").split()

INSTALLED_APPS = ["service"]
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
ROOT_URLCONF = "service.urls"
ASGI_APPLICATION = "service.asgi.application"

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DATA / "db.sqlite3",
        # Requests and the management command write at the same time.
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
MEDIA_ROOT = DATA / "media"
USE_TZ = True

# DIFFIO_API_KEY is read by the client itself. The inbox must be on a local disk.
DIFFIO_WEBHOOK_SECRETS = os.environ.get("DIFFIO_WEBHOOK_SECRET", "").split()
DIFFIO_INBOX = DATA / "diffio-inbox.db"
