"""Writes docs/api.md from the protos: services, calls, messages, fields, what they mean, errors.

build/tools/venv/bin/python scripts/api_page.py > docs/api.md
"""

import re
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from google.protobuf import descriptor_pb2
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parents[1]
FILES = ("model", "tokenizer", "error_details")
Field = descriptor_pb2.FieldDescriptorProto
Message = descriptor_pb2.DescriptorProto
SCALARS = {
    value: name.removeprefix("TYPE_").lower()
    for name, value in Field.Type.items()
    if name not in ("TYPE_MESSAGE", "TYPE_ENUM", "TYPE_GROUP")
}

HEAD = """# The API

Text to token ids ([TokenizerService](#tokenizerservice)), and token ids to token ids, with conversations kept
under session ids ([ModelService](#modelservice)). What the calls and fields are; [sessions](sessions.md),
[sampling](sampling.md) and [chat](chat.md) say how they go together.
`scripts/api_page.py` makes this page from [the protos](../proto/kvasir/v1).

- **Fields** of which it matters whether they are set are marked *optional*; any other that is not set is 0,
  false or empty.
- **Metadata** that calls may carry: `kvasir-session`, the session's id, by which a proxy finds the session's
  replica; `authorization: Bearer KEY` where servers [ask for it](../SECURITY.md#keys); `traceparent`. Each
  answer's trailing metadata has the `traceparent` of its own span.
- **Sizes**: a message has 16 MiB at most, to and from the tokenizer service 64 MiB; metadata 16 KiB.
- **Errors** are gRPC statuses, see [below](#errors).
"""


class Error(NamedTuple):
    calls: str
    when: str
    metadata: str = ""


SESSION = "calls on a session"
# By reason, in the order of the table; engine/error.cc gives each its code.
ERRORS = {
    "INVALID_FIELD": Error(
        "all", "a field is out of range, not finite, missing or no id of the vocabulary", "field"
    ),
    "SESSION_NOT_FOUND": Error(
        SESSION, "there is no such session, or it is another tenant's", "session_id"
    ),
    "SESSION_EXISTS": Error(
        "CreateSession, ForkSession", "the new session's id is taken", "session_id"
    ),
    "LENGTH_MISMATCH": Error(
        "Generate, TruncateSession",
        "the session's length is not `expected_length`; nothing was done",
        "session_length",
    ),
    "SESSION_BUSY": Error(
        "Generate, TruncateSession", "another call is running on the session", "session_id"
    ),
    "LEASE_LOST": Error(
        SESSION,
        "another replica has taken the session over meanwhile; nothing was appended here",
        "session_id",
    ),
    "CONTEXT_EXCEEDED": Error(
        "Generate, CreateSession, ForkSession, TruncateSession, ReadSession",
        "session and input are longer than the model's context; a length or an offset is past the end",
        "session_length, max_context",
    ),
    "KV_TOO_SMALL": Error(
        "Generate", "it can never fit the KV pool, or its tenant's share of that", "kv_tokens"
    ),
    "QUEUE_FULL": Error("Generate", "too many calls wait; try again after RetryInfo", "max_queue"),
    "QUOTA": Error(
        "all", "the tenant has reached a limit; try again after RetryInfo", "quota, limit, used"
    ),
    "DRAINING": Error("all", "the server is about to stop; another replica may serve"),
    "NOT_OWNER": Error(
        SESSION, "another replica serves the session; try again there, or later", "owner"
    ),
    "STORE": Error(SESSION, "the session store cannot be reached, or has no room"),
    "MODEL_CHANGED": Error(
        SESSION,
        "the session was written by another model",
        "session_fingerprint, fingerprint",
    ),
    "SESSION_DAMAGED": Error(
        SESSION, "what is stored of the session is not what was written", "session_id, field"
    ),
}
OTHER_ERRORS = """
Without a reason come `UNAUTHENTICATED` (no key, or a wrong one), `RESOURCE_EXHAUSTED` for a message that is too
large, `DEADLINE_EXCEEDED` (the call's deadline; or its reader has taken nothing for `--stall-timeout`),
`CANCELLED`, and `INTERNAL`, which is our fault.

Safe to repeat: `UNAVAILABLE`, and `RESOURCE_EXHAUSTED` where there is a RetryInfo. A turn that was repeated is
appended once if it carries `expected_length` ([retries](sessions.md#retries)).
"""


def codes() -> dict[str, str]:
    """The gRPC code of each reason."""
    source = (ROOT / "engine/error.cc").read_text()
    code_of, _, name_of = source.partition("std::string_view NameOf(Reason reason)")
    names = dict(re.findall(r'case Reason::(\w+):\s+return "(\w+)";', name_of))
    found = {}
    for cases, code in re.findall(
        r"((?:\s+case Reason::\w+:)+)\s+return absl::StatusCode::k(\w+);", code_of
    ):
        for case in re.findall(r"Reason::(\w+)", cases):
            found[names[case]] = re.sub(r"(?<!^)(?=[A-Z])", "_", code).upper()
    return found


def load() -> descriptor_pb2.FileDescriptorSet:
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "set")
        includes = [f"-I{ROOT / 'proto'}", f"-I{Path(protoc.__file__).parent / '_proto'}"]
        files = [f"kvasir/v1/{name}.proto" for name in FILES]
        flags = ["--include_source_info", f"--descriptor_set_out={output}"]
        if protoc.main(["protoc", *includes, *flags, *files]) != 0:
            raise SystemExit("protoc failed")
        return descriptor_pb2.FileDescriptorSet.FromString(output.read_bytes())


def escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("*", "\\*")


class Page:
    def __init__(self, file: descriptor_pb2.FileDescriptorProto, known: set[str]) -> None:
        self.file, self.known = file, known
        self.comments = {
            tuple(each.path): " ".join(each.leading_comments.split())
            for each in file.source_code_info.location
        }
        self.index = {message.name: index for index, message in enumerate(file.message_type)}

    def comment(self, *path: int) -> str:
        return escape(self.comments.get(path, ""))

    def link(self, name: str) -> str:
        short = name.rpartition(".")[2]
        return f"[{short}](#{short.lower()})" if short in self.known else f"`{name.lstrip('.')}`"

    def type_of(self, field: Field, message: Message) -> str:
        for nested in message.nested_type:
            if nested.options.map_entry and field.type_name.endswith(f".{nested.name}"):
                key, value = (self.type_of(each, message) for each in nested.field)
                return f"map of {key} to {value}"
        name = SCALARS.get(field.type)
        name = f"`{name}`" if name else self.link(field.type_name)
        if field.label == Field.LABEL_REPEATED:
            return f"list of {name}"
        return f"*optional* {name}" if field.proto3_optional else name

    def message(self, name: str, level: str) -> list[str]:
        index = self.index[name]
        message = self.file.message_type[index]
        lines = [f"{level} {name}", ""]
        if comment := self.comment(4, index):
            lines += [comment, ""]
        if not message.field:
            return [*lines, "No fields.", ""]
        lines += ["| field | type | |", "|---|---|---|"]
        for number, field in enumerate(message.field):
            meaning = self.comment(4, index, 2, number)
            if field.HasField("oneof_index") and not field.proto3_optional:
                one = message.oneof_decl[field.oneof_index].name
                meaning = f"*{one}, one of these.* {meaning}".rstrip()
            kind = self.type_of(field, message)
            lines.append(f"| `{field.name}` = {field.number} | {kind} | {meaning} |")
        return [*lines, ""]

    def enum(self, index: int) -> list[str]:
        enum = self.file.enum_type[index]
        lines = [f"### {enum.name}", ""]
        if comment := self.comment(5, index):
            lines += [comment, ""]
        lines += ["| value | |", "|---|---|"]
        for number, value in enumerate(enum.value):
            meaning = self.comment(5, index, 2, number)
            lines.append(f"| `{value.name}` = {value.number} | {meaning} |")
        return [*lines, ""]

    def service(self) -> list[str]:
        (service,) = self.file.service
        lines = [f"## {service.name}", "", f"`{self.file.package}.{service.name}`. "]
        lines[-1] += self.comment(6, 0)
        lines += ["", "| call | |", "|---|---|"]
        for number, method in enumerate(service.method):
            meaning = self.comment(6, 0, 2, number)
            lines.append(f"| [{method.name}](#{method.name.lower()}) | {meaning} |")
        lines.append("")
        for number, method in enumerate(service.method):
            request, response = (
                ("stream " if streams else "") + self.link(kind)
                for kind, streams in (
                    (method.input_type, method.client_streaming),
                    (method.output_type, method.server_streaming),
                )
            )
            lines += [f"### {method.name}", "", f"{request} → {response}", ""]
            if meaning := self.comment(6, 0, 2, number):
                lines += [meaning, ""]
            for kind in (method.input_type, method.output_type):
                lines += self.message(kind.rpartition(".")[2], "####")
        return lines

    def others(self) -> list[str]:
        """Messages that are not a call's own, and enums."""
        own = {
            kind.rpartition(".")[2]
            for service in self.file.service
            for method in service.method
            for kind in (method.input_type, method.output_type)
        }
        lines = []
        for message in self.file.message_type:
            if message.name not in own:
                lines += self.message(message.name, "###")
        for index in range(len(self.file.enum_type)):
            lines += self.enum(index)
        return lines


def errors() -> list[str]:
    found = codes()
    if set(found) != set(ERRORS):
        raise SystemExit(f"reasons without a row, or rows without: {set(found) ^ set(ERRORS)}")
    lines = [
        "## Errors",
        "",
        "Each status carries an [ErrorInfo](#errorinfo) in `grpc-status-details-bin`: domain `kvasir`, a reason "
        "to act on, metadata.",
        "",
        "| reason | code | calls | when | metadata |",
        "|---|---|---|---|---|",
    ]
    for reason, (calls, when, metadata) in ERRORS.items():
        keys = ", ".join(f"`{key}`" for key in metadata.split(", ") if key)
        lines.append(f"| `{reason}` | `{found[reason]}` | {calls} | {when} | {keys} |")
    return [*lines, *OTHER_ERRORS.splitlines(), ""]


def page() -> str:
    files = load().file
    known = {each.name for file in files for each in (*file.message_type, *file.enum_type)}
    model, tokenizer, details = (Page(file, known) for file in files)
    parts = [HEAD.rstrip().splitlines(), [""]]
    for each in (tokenizer, model):
        parts += [each.service(), ["## Messages of " + each.file.service[0].name, ""]]
        parts += [each.others()]
    parts += [errors(), details.others()]
    return "\n".join(line.rstrip() for part in parts for line in part).rstrip() + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
