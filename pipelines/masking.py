"""Secrets are masked in everything that is printed or written to a log."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

MASK = "****"
_SECRET_NAME = re.compile(r"(SECRET|PASSWORD|PASSWD|TOKEN|API_KEYS?|ACCESS_KEY|CREDENTIAL)", re.I)
_PATH_NAME = re.compile(r"_(PATH|FILE|URL|URI)$", re.I)
_URL_LOGIN = re.compile(r"(\w[\w+.-]*://)[^/\s:@]*:[^/\s@]+@")
_MIN_LENGTH = 6


def is_secret(name: str) -> bool:
    """Whether an environment variable of this name holds a secret."""
    return bool(_SECRET_NAME.search(name)) and not _PATH_NAME.search(name)


def mask_secrets(text: str, environment: Mapping[str, str] | None = None) -> str:
    """`text` without the values of secret environment variables and logins in URLs."""
    environment = os.environ if environment is None else environment
    for name, value in environment.items():
        if not is_secret(name):
            continue
        for part in value.split(","):
            if len(part.strip()) >= _MIN_LENGTH:
                text = text.replace(part.strip(), MASK)
    return _URL_LOGIN.sub(rf"\1{MASK}@", text)
