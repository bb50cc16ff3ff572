"""One finding of the doctor, and whether it can be lived with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """One finding; status is OK, WARN or FAIL, fix is empty when OK."""

    name: str
    status: str
    detail: str
    fix: str = ""

    def row(self) -> dict[str, str]:
        return {"name": self.name, "status": self.status, "detail": self.detail, "fix": self.fix}
