"""A gRPC server asked through reflection alone, as grpcurl does, for where grpcurl is not at hand.

    python -m benchmarks.reflect HOST:PORT list [SERVICE]
    python -m benchmarks.reflect HOST:PORT describe SYMBOL
    python -m benchmarks.reflect HOST:PORT call SERVICE/METHOD [JSON]      the request as JSON; @FILE in a bytes field

Nothing of the contract is imported: what is not in the server's own description cannot be asked. Calls in which
several messages go up take one JSON object a line from standard input.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import MessageToJson, ParseDict
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase


class Reflected:
    """What a server says of itself."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self._database = ProtoReflectionDescriptorDatabase(channel)
        self._pool = DescriptorPool(self._database)

    def services(self) -> list[str]:
        """Full names of all services."""
        return sorted(self._database.get_services())

    def methods(self, service: str) -> list[str]:
        """The calls of one service."""
        return [method.full_name for method in self._pool.FindServiceByName(service).methods]

    def describe(self, symbol: str) -> str:
        """The file that holds ``symbol``, as far as it speaks of it."""
        found = FileDescriptorProto()
        self._pool.FindFileContainingSymbol(symbol).CopyToProto(found)
        name = symbol.rpartition(".")[2]
        return str(next(part for part in (*found.service, *found.message_type, *found.enum_type) if part.name == name))

    def call(self, path: str, requests: Iterable[dict[str, Any]]) -> Iterator[Message]:
        """Every reply to ``requests``.

        Raises:
            grpc.RpcError: the call ended with a status.
        """
        service, _, name = path.rpartition("/")
        method = self._pool.FindServiceByName(service).methods_by_name[name]
        request, reply = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
        messages = (ParseDict(_with_files(one), request()) for one in requests)
        started = self._starter(method)(
            f"/{service}/{name}", request_serializer=request.SerializeToString, response_deserializer=reply.FromString
        )
        answer = started(messages if method.client_streaming else next(messages), timeout=60)
        yield from answer if method.server_streaming else (answer,)

    def _starter(self, method: MethodDescriptor) -> Any:
        up = "stream" if method.client_streaming else "unary"
        down = "stream" if method.server_streaming else "unary"
        return getattr(self._channel, f"{up}_{down}")


def _with_files(value: Any) -> Any:
    """``"@PATH"`` becomes the file's bytes in base64, as JSON carries bytes."""
    if isinstance(value, dict):
        return {key: _with_files(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_files(item) for item in value]
    if isinstance(value, str) and value.startswith("@"):
        return base64.b64encode(Path(value[1:]).read_bytes()).decode("ascii")
    return value


def _requests(given: str | None) -> Iterator[dict[str, Any]]:
    yield from (json.loads(line) for line in ([given] if given is not None else sys.stdin))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what the server says; 0 fine, 3 the call ended with a status."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.reflect", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("server", metavar="HOST:PORT")
    parser.add_argument("what", choices=("list", "describe", "call"))
    parser.add_argument("name", nargs="?")
    parser.add_argument("request", nargs="?", metavar="JSON")
    given = parser.parse_args(arguments)
    if given.what != "list" and given.name is None:
        parser.error(f"{given.what} needs a name")
    with grpc.insecure_channel(given.server) as channel:
        server = Reflected(channel)
        try:
            for line in _lines(server, given):
                print(line)
        except grpc.RpcError as error:
            print(f"{error.code().name}: {error.details()}", file=sys.stderr)
            return 3
    return 0


def _lines(server: Reflected, given: argparse.Namespace) -> Iterator[str]:
    match given.what:
        case "list":
            yield from server.services() if given.name is None else server.methods(given.name)
        case "describe":
            yield server.describe(given.name)
        case _:
            replies = server.call(given.name, _requests(given.request))
            yield from (MessageToJson(reply, indent=1, preserving_proto_field_name=True) for reply in replies)


if __name__ == "__main__":
    sys.exit(main())
