"""The settings tree. Environment variables ``IRMSIA_<NAME>``, nested by ``__``: ``IRMSIA_LIMITS__FRAMES=100``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from irmsia.settings.limits import MIB, ReadLimits

Port = Annotated[int, Field(ge=0, le=65535)]


def _cores() -> int:
    """The processors this process may use, where the system tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class ServerSettings(BaseModel):
    """The doors of `irmsia serve`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="address to listen on; any but loopback needs all three of TLS")
    port: Port = Field(8000, description="port of the HTTP door; 0 takes a free one")
    grpc_port: Port = Field(50051, description="port of the gRPC door; 0 takes a free one")
    grace_seconds: float = Field(30.0, ge=0, description="seconds that admitted work may take to finish after SIGTERM")
    request_seconds: float = Field(60.0, gt=0, description="longest time for one request that names no deadline")
    message_bytes: int = Field(64 * MIB, gt=0, description="bytes of one gRPC message")
    body_bytes: int = Field(1024 * MIB, gt=0, description="bytes of one HTTP request, its files together")
    batch_files: int = Field(256, gt=0, description="images of one HTTP batch")
    upload_bytes: int = Field(4096 * MIB, gt=0, description="bytes of all uploads in pieces that are kept at once")
    upload_seconds: float = Field(900.0, gt=0, description="seconds that an upload is kept which nobody goes on with")
    tls_certificate: Path | None = Field(None, description="PEM file of the server's certificate and its chain")
    tls_key: Path | None = Field(None, description="PEM file of its private key, readable by this user alone")
    tls_client_ca: Path | None = Field(
        None, description="PEM file of authorities; every client must then show a certificate of one of them"
    )


class EngineSettings(BaseModel):
    """Who does the work, and how much of it may wait."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    workers: int = Field(
        default_factory=lambda: (
            len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        ),
        ge=1,
        description="images read at once, each in a decoder child of its own (default: the cores at hand)",
    )
    queue: int = Field(64, ge=1, description="images that may wait; one more is OVERLOADED")
    streams: int | None = Field(
        None, ge=1, description="inferences that run at once; by default as many as workers, 2 on a graphics card"
    )
    threads: int = Field(1, ge=1, description="processor threads of one inference")
    batch: int | None = Field(
        None,
        ge=1,
        description="images of one inference at most, grown only while all streams are busy; by default 1, 16 on a"
        " graphics card",
    )
    runtime: str = Field(
        "auto", description="what runs the network: openvino, onnxruntime; auto takes the first at hand"
    )
    precision: Literal["auto", "f32", "bf16"] = Field(
        "auto",
        description="number format of inference; auto takes bf16 where `irmsia models verify` proved it here, else f32",
    )
    cache_bytes: int = Field(
        512 * MIB, ge=0, description="bytes of compiled networks kept between starts; 0 keeps none"
    )


class ModelSettings(BaseModel):
    """Which models a server holds, and how it learns of another."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ready: int = Field(
        2, ge=0, description="models held ready beside the active one: those active last, then the newest installed"
    )
    watch_seconds: float = Field(
        2.0, gt=0, description="seconds between two looks of a server whether another model was activated"
    )


class ClientSettings(BaseModel):
    """How servers are asked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ca: Path | None = Field(
        None, description="PEM file of who signed the certificates of the servers that are asked; speaks TLS"
    )
    certificate: Path | None = Field(
        None, description="PEM file of the certificate shown to servers that ask for one; speaks TLS"
    )
    key: Path | None = Field(None, description="PEM file of the private key of that certificate")


class CollectSettings(BaseModel):
    """How public sources are asked, and what a download may cost."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    connections: int = Field(4, ge=1, le=64, description="downloads at once")
    host_connections: int = Field(4, ge=1, le=64, description="downloads at once from one host")
    host_rate: float = Field(8.0, gt=0, description="requests a second to one host")
    retries: int = Field(5, ge=0, description="times that a failed request is made again")
    stall_seconds: float = Field(60.0, gt=0, description="seconds without a byte after which a connection is given up")
    file_bytes: int = Field(256 * 1024 * MIB, gt=0, description="bytes of one downloaded file")
    archive_bytes: int = Field(1024 * 1024 * MIB, gt=0, description="bytes that one archive may unpack to")
    archive_entries: int = Field(2_000_000, gt=0, description="entries of one archive")
    archive_ratio: float = Field(200.0, gt=0, description="unpacked bytes per packed byte of one archive")
    allow_loopback: bool = Field(
        False, description="also ask this machine, and without TLS: for stand-in servers of tests"
    )
    nbia_url: str = Field(
        "https://nbia.cancerimagingarchive.net/nbia-api/services", description="address of NBIA's services"
    )
    s3_url: str = Field("https://s3.amazonaws.com", description="address of the object store of IDC")
    s3_rate: float = Field(100.0, gt=0, description="requests a second to it: a file is one, and it is made for many")
    kaggle_url: str = Field("https://www.kaggle.com/api/v1", description="address of Kaggle's services")
    nih_url: str = Field("https://nihcc.box.com/shared/static", description="address of NIH's archives")


class LogSettings(BaseModel):
    """What goes to standard error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("WARNING", description="least level that is written")
    format: Literal["console", "json"] = Field("console", description="for people, or one JSON object a line")


class Settings(BaseSettings):
    """The whole tree. Built once by `irmsia.app`; a value given on the command line wins over the environment."""

    model_config = SettingsConfigDict(env_prefix="IRMSIA_", env_nested_delimiter="__", frozen=True, extra="forbid")

    home: Path = Field(
        default_factory=lambda: Path(platformdirs.user_data_dir("irmsia", appauthor=False)),
        description="folder of keys, bundles, the running servers and the pseudonym key",
    )
    database_url: SecretStr | None = Field(
        None, description="database of datasets, as SQLAlchemy writes it; irmsia.db in IRMSIA_HOME unless set"
    )
    inference_url: str | None = Field(
        None, description="gRPC server (HOST:PORT) that answers /api/v1/ai-grpc/; this server itself unless set"
    )
    server: ServerSettings = Field(default_factory=ServerSettings, description="the doors")
    engine: EngineSettings = Field(default_factory=EngineSettings, description="the work")
    models: ModelSettings = Field(default_factory=ModelSettings, description="the models of a server")
    client: ClientSettings = Field(default_factory=ClientSettings, description="how servers are asked")
    collect: CollectSettings = Field(default_factory=CollectSettings, description="how public sources are asked")
    limits: ReadLimits = Field(default_factory=ReadLimits, description="what one input may cost")
    log: LogSettings = Field(default_factory=LogSettings, description="the log on standard error")
