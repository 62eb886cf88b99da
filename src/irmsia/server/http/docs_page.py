"""``/docs``: the OpenAPI document as a page, made here: each route with fields, errors, examples and a form."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from typing import Any

from irmsia.errors import iter_leaves
from irmsia.server.http.pieces import code, prose, table
from irmsia.server.http.problems import title_of
from irmsia.wire.errors import row_of

_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>IRMSIA: REST interface</title>
<link rel="icon" href="/static/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/static/irmsia.css">
<script src="/static/docs.js" defer></script>
</head>
<body>
<a class="skip" href="#main">Skip to the routes</a>
<header class="top"><div class="wide"><strong>IRMSIA</strong><nav aria-label="Pages"><a href="/">Start</a>
<a href="/openapi.json">openapi.json</a><a href="#errors">Errors</a><a href="#schemas">Schemas</a></nav></div></header>
<div class="notice" role="note"><p class="wide">Research use only, not a medical device.</p></div>
<main class="wide" id="main">
"""
_FOOT = "</main></body></html>"


def render_docs(document: dict[str, Any], url: str) -> str:
    """The page of ``document``; ``url`` is how the caller reaches this server."""
    info = document["info"]
    parts = [
        _HEAD,
        f"<h1>{escape(info['title'])} {escape(info['version'])}: REST interface</h1>",
        f'<p class="lead">{escape(info["summary"])} One object from every door; errors are RFC 9457 problems with a'
        " stable <code>code</code>.</p>",
        *(_tag(tag, document, url) for tag in document["tags"]),
        _errors(),
        _schemas(document),
        _FOOT,
    ]
    return "\n".join(parts)


def _tag(tag: dict[str, str], document: dict[str, Any], url: str) -> str:
    routes = "".join(
        _route(method, path, operation, url)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if tag["name"] in operation["tags"]
    )
    name = escape(tag["name"])
    return f'<section class="card"><h2>{name}</h2><p class="lead">{escape(tag["description"])}</p>{routes}</section>'


def _route(method: str, path: str, operation: dict[str, Any], url: str) -> str:
    summary = (
        f'<summary><span class="method">{method.upper()}</span> <code>{escape(path)}</code>'
        f' <span class="what">{escape(operation["summary"])}</span></summary>'
    )
    fields = _fields(operation)
    body = [f"<p>{prose(operation['description'])}</p>"]
    if fields:
        rows = [(code(name), escape(_kind(field)), prose(field.get("description", ""))) for name, field in fields]
        body += ["<h3>Fields</h3>", table(("name", "type", "meaning"), rows)]
    body += ["<h3>Example</h3>", f"<pre><code>{escape(curl_line(method, path, fields, url))}</code></pre>"]
    body += [*_responses(operation), _form(method, path, fields)]
    return f'<details class="route" id="{escape(operation["operationId"])}">{summary}{"".join(body)}</details>'


def _fields(operation: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Name and schema of every field, those of the path first."""
    path = [(item["name"], {**item["schema"], "in": "path"}) for item in operation.get("parameters", ())]
    content = operation.get("requestBody", {}).get("content", {})
    schema: dict[str, Any] = next((kind["schema"] for kind in content.values()), {})
    return path + list(schema.get("properties", {}).items())


def _kind(field: dict[str, Any]) -> str:
    if _is_file(field):
        return "files" if field["type"] == "array" else "file"
    return f"{field['type']}, in the path" if field.get("in") else str(field["type"])


def _is_file(field: dict[str, Any]) -> bool:
    one = field.get("items", field)
    return bool(one.get("format") == "binary")


def curl_line(method: str, path: str, fields: list[tuple[str, dict[str, Any]]], url: str) -> str:
    """How to ask with curl."""
    files = [f"-F {name}=@image.dcm" for name, field in fields if _is_file(field)]
    if any(field["type"] == "array" for name, field in fields):
        files.append("-F files=@other.dcm")
    if any(name == "heatmap" for name, _ in fields):
        files.append("-F heatmap=true")
    return " ".join(("curl", *files, f"{url}{path.replace('{upload_id}', '$UPLOAD_ID')}"))


def _responses(operation: dict[str, Any]) -> Iterator[str]:
    yield "<h3>Responses</h3>"
    rows = [(code(status), escape(reply["description"])) for status, reply in operation["responses"].items()]
    yield table(("status", "meaning"), rows)
    for status, reply in operation["responses"].items():
        for content in reply.get("content", {}).values():
            for name, example in content.get("examples", {}).items():
                text = f"<pre><code>{escape(json.dumps(example['value'], indent=1))}</code></pre>"
                yield f"<details><summary>{escape(status)}: {escape(name)}</summary>{text}</details>"


def _form(method: str, path: str, fields: list[tuple[str, dict[str, Any]]]) -> str:
    inputs = "".join(
        f"<tr><th scope=row>{code(name)}</th><td>{_input(name, field)}</td></tr>" for name, field in fields
    )
    rows = f"<table>{inputs}</table>" if inputs else ""
    return (
        f'<details><summary>Try it</summary><form class="try" data-method="{method.upper()}" data-path="{escape(path)}"'
        ' data-unreached="The server was not reached.">'
        f'{rows}<div class="row"><button type="submit">Send</button></div><output></output></form></details>'
    )


def _input(name: str, field: dict[str, Any]) -> str:
    label = f'name="{escape(name)}" aria-label="{escape(name)}"'
    if _is_file(field):
        return f'<input type="file" {label}{" multiple" if field["type"] == "array" else ""}>'
    if field["type"] == "boolean":
        return f'<select {label}><option value=""></option><option>true</option><option>false</option></select>'
    return f'<input type="text" {label} data-in="{field.get("in", "body")}" autocomplete="off">'


def _errors() -> str:
    rows = [
        (f'<span id="{leaf.code}">{code(leaf.code)}</span>', code(str(row_of(leaf).http)), code(row_of(leaf).grpc),
         escape(title_of(leaf)))
        for leaf in iter_leaves()
    ]  # fmt: skip
    head = table(("code", "HTTP", "gRPC", "meaning"), rows)
    return f'<section class="card" id="errors"><h2>Errors</h2>{head}</section>'


def _schemas(document: dict[str, Any]) -> str:
    made = "".join(_schema(name, schema) for name, schema in document["components"]["schemas"].items())
    return f'<section class="card" id="schemas"><h2>Schemas</h2>{made}</section>'


def _schema(name: str, schema: dict[str, Any]) -> str:
    rows = [(code(field), _type(value)) for field, value in schema.get("properties", {}).items()]
    inner = table(("field", "type"), rows) if rows else ""
    told = f"<p>{prose(schema.get('description', '').replace('``', '`'))}</p>"
    return f'<details id="schema-{escape(name)}"><summary>{escape(name)}</summary>{told}{inner}</details>'


def _type(value: dict[str, Any]) -> str:
    if "$ref" in value:
        name = escape(value["$ref"].rpartition("/")[2])
        return f'<a href="#schema-{name}">{name}</a>'
    if "anyOf" in value:
        return " or ".join(_type(one) for one in value["anyOf"])
    if "enum" in value:
        return " | ".join(code(one) for one in value["enum"])
    if value.get("type") == "array" and "items" in value:
        return f"list of {_type(value['items'])}"
    return escape(" ".join(str(value[key]) for key in ("type", "contentEncoding") if key in value))
