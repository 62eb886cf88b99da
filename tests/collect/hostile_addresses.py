"""Addresses that must never be asked (safety line I9), each with the trick that it tries.

``{port}`` stands for the port of a server that counts who connects: nobody may. ``resolves``: what its name is said to
be; ``redirect``: not asked itself, but where a server sends whoever asks it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Hostile:
    """One address."""

    trick: str
    url: str
    resolves: tuple[str, ...] = ("93.184.216.34",)
    redirect: bool = False


_SCHEMES = [
    Hostile("file", "file:///etc/passwd"),
    Hostile("file with a host", "file://127.0.0.1/etc/passwd"),
    Hostile("ftp", "ftp://data.example.org/set.zip"),
    Hostile("gopher", "gopher://data.example.org:{port}/_GET"),
    Hostile("data", "data:text/plain,hello"),
    Hostile("javascript", "javascript:alert(1)"),
    Hostile("s3", "s3://bucket/key"),
    Hostile("ws", "wss://data.example.org/"),
    Hostile("no scheme", "data.example.org/set.zip"),
    Hostile("relative to the scheme", "//data.example.org/set.zip"),
    Hostile("no TLS", "http://data.example.org/set.zip"),
    Hostile("no TLS, in capitals", "HTTP://data.example.org/set.zip"),
    Hostile("no host", "https:///set.zip"),
    Hostile("two schemes", "jar:https://data.example.org/x!/y"),
]
_LOOPBACK = [
    Hostile("loopback", "https://127.0.0.1:{port}/"),
    Hostile("loopback without TLS", "http://127.0.0.1:{port}/"),
    Hostile("the rest of loopback", "https://127.8.9.10:{port}/"),
    Hostile("localhost", "https://localhost:{port}/"),
    Hostile("localhost with a dot", "https://localhost.:{port}/"),
    Hostile("a name below localhost", "https://files.localhost:{port}/"),
    Hostile("unspecified", "https://0.0.0.0:{port}/"),
    Hostile("IPv6 loopback", "https://[::1]:{port}/"),
    Hostile("IPv6 unspecified", "https://[::]:{port}/"),
    Hostile("IPv4-mapped loopback", "https://[::ffff:127.0.0.1]:{port}/"),
    Hostile("IPv4-mapped, in hexadecimal", "https://[::ffff:7f00:1]:{port}/"),
    Hostile("IPv4-compatible loopback", "https://[::127.0.0.1]:{port}/"),
    Hostile("IPv6 with a zone", "https://[fe80::1%25lo]:{port}/"),
    Hostile("IPv6 written at length", "https://[0000:0000:0000:0000:0000:0000:0000:0001]:{port}/"),
]
_NUMBERS = [
    Hostile("decimal", "https://2130706433:{port}/"),
    Hostile("hexadecimal", "https://0x7f000001:{port}/"),
    Hostile("octal", "https://017700000001:{port}/"),
    Hostile("dotted octal", "https://0177.0.0.1:{port}/"),
    Hostile("dotted hexadecimal", "https://0x7f.0x0.0x0.0x1:{port}/"),
    Hostile("two parts", "https://127.1:{port}/"),
    Hostile("three parts", "https://127.0.1:{port}/"),
    Hostile("zero", "https://0:{port}/"),
    Hostile("leading zeros", "https://127.000.000.001:{port}/"),
    Hostile("a number that is public otherwise", "https://1572395042:{port}/"),
    Hostile("more than 32 bits", "https://4294967297:{port}/"),
    Hostile("percent-encoded dots", "https://127%2e0%2e0%2e1:{port}/"),
    Hostile("percent-encoded digits", "https://%31%32%37.0.0.1:{port}/"),
    Hostile("fullwidth digits", "https://１２７.０.０.１:{port}/"),
    Hostile("circled digits", "https://①②⑦.⓪.⓪.①:{port}/"),
    Hostile("ideographic full stops", "https://127。0。0。1:{port}/"),
    Hostile("circled letters", "https://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ:{port}/"),
    Hostile("a soft hyphen", "https://local\u00adhost:{port}/"),
]
_PRIVATE = [
    Hostile("private 10", "https://10.0.0.1/"),
    Hostile("private 172.16", "https://172.31.255.254/"),
    Hostile("private 192.168", "https://192.168.1.1/"),
    Hostile("shared by carriers", "https://100.64.0.1/"),
    Hostile("link-local", "https://169.254.1.1/"),
    Hostile("metadata of clouds", "https://169.254.169.254/latest/meta-data/"),
    Hostile("multicast", "https://224.0.0.1/"),
    Hostile("broadcast", "https://255.255.255.255/"),
    Hostile("benchmarks", "https://198.18.0.1/"),
    Hostile("documentation", "https://203.0.113.7/"),
    Hostile("IPv6 unique local", "https://[fd00:ec2::254]/"),
    Hostile("IPv6 link-local", "https://[fe80::1]/"),
    Hostile("IPv6 multicast", "https://[ff02::1]/"),
    Hostile("6to4 of a private address", "https://[2002:a00:1::]/"),
    Hostile("Teredo", "https://[2001:0:7f00:1::]/"),
    Hostile("NAT64 of loopback", "https://[64:ff9b::7f00:1]/"),
    Hostile("NAT64 for local use", "https://[64:ff9b:1::a00:1]/"),
    Hostile("ISATAP of a private address", "https://[2600::5efe:10.0.0.1]/"),
]
_NAMES = [
    Hostile("a name and a password", "https://user:word@data.example.org/"),
    Hostile("a public name before the at sign", "https://data.example.org@127.0.0.1:{port}/"),
    Hostile("a backslash before the at sign", "https://data.example.org\\@127.0.0.1:{port}/"),
    Hostile("a line break", "https://data.example.org\r\nHost: 127.0.0.1/"),
    Hostile("a space", "https://data.example.org /"),
    Hostile("a name without a dot", "https://intranet/"),
    Hostile("a name of a local network", "https://nas.local/"),
    Hostile("metadata by name", "https://metadata.google.internal/computeMetadata/v1/"),
    Hostile("a port of mail", "https://data.example.org:25/"),
    Hostile("a port of SSH", "https://data.example.org:22/"),
    Hostile("a port of X11", "https://data.example.org:6000/"),
    Hostile("a port that is none", "https://data.example.org:99999/"),
]
_RESOLVED = [
    Hostile("a name of loopback", "https://rebind.example.org:{port}/", ("127.0.0.1",)),
    Hostile("a name of IPv6 loopback", "https://rebind.example.org:{port}/", ("::1",)),
    Hostile("a name of a private address", "https://rebind.example.org:{port}/", ("10.1.2.3",)),
    Hostile("a name of the metadata service", "https://rebind.example.org:{port}/", ("169.254.169.254",)),
    Hostile("public first, private second", "https://rebind.example.org:{port}/", ("93.184.216.34", "192.168.0.9")),
    Hostile("private first, public second", "https://rebind.example.org:{port}/", ("192.168.0.9", "93.184.216.34")),
    Hostile("a name of a mapped address", "https://rebind.example.org:{port}/", ("::ffff:10.0.0.1",)),
    Hostile("a name of 0.0.0.0", "https://rebind.example.org:{port}/", ("0.0.0.0",)),
    Hostile("a name with a zone", "https://rebind.example.org:{port}/", ("fe80::1%eth0",)),
    Hostile("a wildcard of numbers", "https://127.0.0.1.nip.io:{port}/", ("127.0.0.1",)),
]
_REDIRECTED = [
    Hostile("redirect to a private address", "https://10.0.0.1/", redirect=True),
    Hostile("redirect to metadata", "https://169.254.169.254/latest/", redirect=True),
    Hostile("redirect to a file", "file:///etc/passwd", redirect=True),
    Hostile("redirect away from TLS", "http://data.example.org/", redirect=True),
    Hostile("redirect with a password", "https://a:b@data.example.org/", redirect=True),
    Hostile("redirect to a name of a private address", "https://rebind.example.org/", ("10.0.0.9",), redirect=True),
    Hostile("redirect to a mapped address", "https://[::ffff:a00:1]/", redirect=True),
    Hostile("redirect with a backslash", "/\\10.0.0.1/", redirect=True),
    Hostile("redirect relative to the scheme", "//192.168.0.1/", redirect=True),
    Hostile("redirect to a number", "https://0x0a000001/", redirect=True),
]
HOSTILE = [*_SCHEMES, *_LOOPBACK, *_NUMBERS, *_PRIVATE, *_NAMES, *_RESOLVED, *_REDIRECTED]
