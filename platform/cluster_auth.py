"""Ray's token and its environment variables, set for a while and put back.

Ray 2.60 decides by the environment whether it asks for a token, differently for `ray.init()`,
`ray start` and a connection. Here the mode is always explicit. Ray writes tokens with the umask's
mode; ours are readable by their owner alone. The token is also cached inside Ray's native code,
which has to be told when it changes.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from nitrogen.platform.errors import ClusterError

# What would make a Ray of our own join, name or trust somebody else's.
FOREIGN = (
    "RAY_ADDRESS",
    "RAY_API_SERVER_ADDRESS",
    "RAY_JOB_CONFIG_JSON_ENV_VAR",
    "RAY_JOB_HEADERS",
    "RAY_NAMESPACE",
    "RAY_RUNTIME_ENV_HOOK",
    "RAY_TMPDIR",
    "RAY_AUTH_MODE",
    "RAY_AUTH_TOKEN",
    "RAY_AUTH_TOKEN_PATH",
)
AUTH = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


def write_new_token(path: Path) -> str:
    """Create `path` (mode 0600, it must not exist) with a new random token and return it."""
    token = secrets.token_hex(32)
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(token)
    return token


def find_token(environment: Mapping[str, str] | None = None) -> str | None:
    """The token that Ray's own tools would use, or None.

    Looks at RAY_AUTH_TOKEN, the file in RAY_AUTH_TOKEN_PATH, then ~/.ray/auth_token.
    Raises ClusterError when RAY_AUTH_TOKEN_PATH names a file that cannot be read.
    """
    environment = os.environ if environment is None else environment
    if environment.get("RAY_AUTH_MODE", "").lower() == "disabled":
        return None
    if token := environment.get("RAY_AUTH_TOKEN", "").strip():
        return token
    if path := environment.get("RAY_AUTH_TOKEN_PATH"):
        try:
            return Path(path).expanduser().read_text(encoding="utf-8").strip() or None
        except OSError as error:
            raise ClusterError(
                f"RAY_AUTH_TOKEN_PATH must name a readable file, got {path} ({error.strerror}). "
                "Copy the cluster's token there, mode 0600."
            ) from error
    default = Path.home() / ".ray" / "auth_token"
    with contextlib.suppress(OSError):
        return default.read_text(encoding="utf-8").strip() or None
    return None


@contextlib.contextmanager
def environment(values: Mapping[str, str | None]) -> Iterator[None]:
    """Set variables (None removes one) for the time of the context."""
    before = {name: os.environ.get(name) for name in values}
    _apply(values)
    try:
        yield
    finally:
        _apply(before)


@contextlib.contextmanager
def clean_ray_environment(
    settings: Mapping[str, str], drop: Sequence[str] = FOREIGN
) -> Iterator[None]:
    """Apply `settings` where the caller has none of his own, drop `drop`; put all back after."""
    wanted = {name: os.environ.get(name, value) for name, value in settings.items()}
    with environment({**wanted, **dict.fromkeys(drop)}):
        # Ray itself sets further variables while it runs; what is new is removed again.
        before = {name for name in os.environ if name.startswith("RAY_")}
        try:
            yield
        finally:
            for name in [n for n in os.environ if n.startswith("RAY_") and n not in before]:
                del os.environ[name]


@contextlib.contextmanager
def token_authentication(token: Path | str | None) -> Iterator[None]:
    """Make Ray in this process and its children use a token (a file, or itself), or none."""
    values: dict[str, str | None] = dict.fromkeys(AUTH)
    values["RAY_AUTH_MODE"] = "disabled" if token is None else "token"
    if isinstance(token, Path):
        values["RAY_AUTH_TOKEN_PATH"] = str(token)
    elif token is not None:
        values["RAY_AUTH_TOKEN"] = token
    with contextlib.ExitStack() as stack:
        stack.callback(_reload)
        stack.enter_context(environment(values))
        _reload()
        yield


def _reload() -> None:
    """Make Ray's native code read mode and token again.

    Mode first: a gRPC thread that still drains would otherwise look for a token that is gone,
    which ends the process.
    """
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


def _apply(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
