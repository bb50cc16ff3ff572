"""API keys of the endpoint: parsed once, kept as sha256, compared in constant time.

`NITROGEN_API_KEYS` holds keys separated by commas. An entry is the key itself or `sha256:<hex>`,
so that the plain key need not be on the server. Without keys the endpoint is open, which is only
allowed on a loopback address.
"""

import hashlib
import hmac
import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from nitrogen.platform.errors import ConfigError

API_KEYS_VARIABLE = "NITROGEN_API_KEYS"
MIN_KEY_CHARACTERS = 16
_HASH = re.compile(r"sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class ApiKeys:
    """The sha256 hex digests of the accepted keys; empty means that no key is asked for."""

    hashes: tuple[str, ...] = ()

    @property
    def required(self) -> bool:
        return bool(self.hashes)

    def accepts(self, authorization: str | None, x_api_key: str | None = None) -> bool:
        """Whether `Authorization: Bearer KEY` or `X-Api-Key: KEY` carries an accepted key."""
        return not self.required or self.identify(authorization, x_api_key) is not None

    def identify(self, authorization: str | None, x_api_key: str | None = None) -> str | None:
        """A short, harmless name of the key that was sent (for logs), or None."""
        key = _presented(authorization, x_api_key)
        if key is None:
            return None
        digest = hash_key(key)
        # Every hash is compared, so that the time tells nothing about which one is near.
        matches = [hmac.compare_digest(digest, accepted) for accepted in self.hashes]
        return f"key-{digest[:8]}" if any(matches) else None


def load_api_keys(environment: Mapping[str, str] | None = None) -> ApiKeys:
    """Read NITROGEN_API_KEYS. Raises: ConfigError for a key that is too short (never shown)."""
    text = (os.environ if environment is None else environment).get(API_KEYS_VARIABLE, "")
    hashes = []
    for position, entry in enumerate(filter(None, map(str.strip, text.split(","))), start=1):
        if match := _HASH.fullmatch(entry):
            hashes.append(match[1])
        elif entry.startswith("sha256:"):
            raise ConfigError(
                f"{API_KEYS_VARIABLE} entry {position} must be sha256: and 64 hex digits. "
                "Compute it with sha256sum over the key without a newline."
            )
        elif len(entry) < MIN_KEY_CHARACTERS:
            raise ConfigError(
                f"{API_KEYS_VARIABLE} entry {position} must have at least {MIN_KEY_CHARACTERS} "
                f"characters, got {len(entry)}. Make one with: openssl rand -hex 24"
            )
        else:
            hashes.append(hash_key(entry))
    return ApiKeys(tuple(dict.fromkeys(hashes)))


def hash_key(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_bind(host: str, keys: ApiKeys) -> None:
    """Refuse to listen beyond this machine without keys. Raises: ConfigError."""
    if not is_loopback(host) and not keys.required:
        raise ConfigError(
            f"serve.host must be a loopback address while no API key is set, got {host}. "
            f"Set {API_KEYS_VARIABLE} to one or more keys, or serve on 127.0.0.1."
        )


def _presented(authorization: str | None, x_api_key: str | None) -> str | None:
    scheme, _, value = (authorization or "").partition(" ")
    if scheme.lower() == "bearer" and value.strip():
        return value.strip()
    return x_api_key.strip() if x_api_key and x_api_key.strip() else None
