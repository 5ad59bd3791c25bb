"""What all tables of settings share."""

from pydantic import ConfigDict

ENV_PREFIX = "MONITOR_"
ENV_NESTED = "__"
STRICT = ConfigDict(frozen=True, extra="forbid")
