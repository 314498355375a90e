"""Settings of the command line and the local stack; every other address follows from them."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from millrace.stack.layout import CHECKOUT


class Settings(BaseSettings):
    """Read from MILLRACE_ variables."""

    model_config = SettingsConfigDict(env_prefix="MILLRACE_", frozen=True, extra="ignore")

    home: Path = Field(
        default=Path(".millrace"), description="State folder: data, logs, ports, secrets"
    )
    jars: Path = Field(
        default=CHECKOUT / ".jars", description="What scripts/setup fetched with Maven"
    )
    spark_master: str = Field(default="local[2]", description="Where Spark runs")
