"""Fixture with a private certificate authority."""

import ssl
from pathlib import Path

import pytest
import trustme
from attrs import frozen


@frozen
class Authority:
    """Contexts of a server with a certificate and of a client that trusts it; the CA file."""

    server: ssl.SSLContext
    trusting: ssl.SSLContext
    file: Path


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A certificate authority, shared by all tests since its keys take a while to create."""
    root = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    root.issue_cert("localhost", "api.diffio.test", "media.diffio.test").configure_cert(server)
    file = tmp_path_factory.mktemp("authority") / "root.pem"
    root.cert_pem.write_to_path(str(file))
    return Authority(server, ssl.create_default_context(cafile=str(file)), file)
