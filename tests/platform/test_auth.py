"""API keys: parsed strictly, compared by hash, never shown; open only on loopback."""

import pytest

from nitrogen.platform.auth import check_bind, hash_key, is_loopback, load_api_keys
from nitrogen.platform.errors import ConfigError

KEY, OTHER = "correct-horse-battery", "another-key-0123456789"


def keys(text: str):
    return load_api_keys({"NITROGEN_API_KEYS": text})


def test_without_keys_everybody_may():
    assert not keys("").required
    assert keys(" , ").accepts(None)


@pytest.mark.parametrize(
    ("authorization", "x_api_key", "accepted"),
    [
        (f"Bearer {KEY}", None, True),
        (f"bearer {KEY}", None, True),
        (f"Bearer {OTHER}", None, True),
        (None, KEY, True),
        (f"Basic {KEY}", None, False),
        (f"Bearer {KEY}x", None, False),
        (f"Bearer {KEY[:-1]}", None, False),
        ("Bearer ", None, False),
        (KEY, None, False),
        (None, None, False),
        (None, "", False),
        (f"Bearer {hash_key(OTHER)}", None, False),
    ],
)
def test_keys_are_checked(authorization, x_api_key, accepted):
    accepted_keys = keys(f"{KEY}, sha256:{hash_key(OTHER)}")
    assert accepted_keys.accepts(authorization, x_api_key) is accepted
    assert KEY not in repr(accepted_keys)


def test_identity_is_harmless():
    name = keys(KEY).identify(f"Bearer {KEY}")
    assert name == f"key-{hash_key(KEY)[:8]}"


@pytest.mark.parametrize("text", ["short", "sha256:abc", f"{KEY},short"])
def test_bad_keys_are_refused_without_being_shown(text):
    with pytest.raises(ConfigError) as caught:
        keys(text)
    assert "short" not in str(caught.value).replace("is too short", "")
    assert "entry" in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost", "::1", "[::1]"])
def test_loopback_needs_no_key(host):
    assert is_loopback(host)
    check_bind(host, keys(""))


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.168.1.2", "example.org", "127.0.0.1.nip.io"]
)
def test_other_hosts_need_a_key(host):
    with pytest.raises(ConfigError, match="NITROGEN_API_KEYS"):
        check_bind(host, keys(""))
    check_bind(host, keys(KEY))
