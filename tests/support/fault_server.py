"""A scripted HTTP server on loopback, for tests: it answers as a script says, faults included.

As a program it reads one JSON command a line and answers each with one JSON line; it ends with its
input, so that no test leaves one behind. Python tests use the class ``FaultServer`` directly.

    {"script": [[step, ...], ...]}   -> {"path": "/1"}
        The n-th request below that path is answered by the n-th list of steps, any further one by
        the last list.
    {"requests": "/1"}               -> {"requests": [{"method", "path", "headers", "body",
                                         "connection", "proxied"}, ...]}
    {"listen": "http" | "good" | "expired" | "wrong-host"} -> {"port": N, "ca_file": "..."}
        Another port; the last three with TLS and a certificate of that kind.
    {"closed_port": true}            -> {"port": N}, where nothing listens
    {"ends": true}                   -> {"ends": {CONNECTION: SECONDS, ...}}
        When clients have closed their connections, by the monotonic clock.

Steps, in order, each an object with one of these members:

    "answer": {"status", "headers", "json" | "text"}   a whole answer; the connection stays open;
                                                        "compressed": "gzip" or "deflate", which
                                                        nobody has asked for
    "send": TEXT, "send_base64": BYTES                  these bytes as they are
    "trickle": TEXT, "every": SECONDS                   byte by byte
    "endless": TEXT                                     again and again, until the client goes away
    "wait": SECONDS                                     (ends early when the client goes away)
    "close": true, "reset": true                        ends the connection, in order or with RST
    "service": {...}                                    answers as an OpenAI-compatible server; see
                                                        Service
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import math
import os
import random
import re
import select
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from typing import Any, NamedTuple


class Request(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int
    proxied: bool


class Hangup(Exception):
    """The connection is to be closed, or has been."""


def embedding_of(text: str, dimension: int) -> list[float]:
    """The embedding that the service gives for a text: float32 numbers, of norm 1."""
    source = random.Random(hashlib.sha256(text.encode()).digest())
    values = [source.gauss(0, 1) for _ in range(dimension)]
    norm = math.sqrt(sum(value * value for value in values))
    packed = struct.pack(f"<{dimension}f", *(value / norm for value in values))
    return list(struct.unpack(f"<{dimension}f", packed))


def bill(
    prices: dict[str, Any], kind: str | None, prompt: int, text: int, reasoning: int, images: int
) -> float:
    """USD for a call at a pool's prices; `kind`: of the prompt's tokens."""
    prices = dict(prices)
    for tier in prices.get("price_tiers", []):
        if prompt > tier["above_input_tokens"]:
            prices.update(tier)

    def price(name: str, otherwise: float) -> float:
        value: float = prices.get(f"{name}_price_per_million", otherwise)
        return value

    input_price, output_price = price("input", 0), price("output", 0)
    names = {"cached": "cached_input", "written": "cache_write"}
    tokens = (
        prompt * price(names.get(kind or "", "input"), input_price)
        + text * output_price
        + reasoning * price("reasoning", output_price)
    )
    fees: float = prices.get("price_per_request", 0) + images * prices.get("price_per_image", 0)
    return tokens / 1e6 + fees


class Service:
    """What a well-behaved OpenAI-compatible server answers.

    Settings: "dimension" of embeddings; "base64": false refuses that encoding, "ignored" answers
    with decimals instead; "text" of answers ("{query}" stands for the last message); "tokens": how
    many an answer has, or "all" that it may have; "reasoning": how many of them are reasoning;
    "prices": {model: [input, output]} in USD per million, or a pool's prices of the model, for
    "usage.cost" ("silent": it is left out); "prompt": "cached" or "written", what all of it is;
    "hides_details": only the two sums are reported; "images": how many are billed; "served_model";
    "models": the data of GET /models; "pause": seconds between streamed pieces; "key": what the
    Authorization header must carry; "rejects": parameters that chat requests may not have;
    "refuse": {"containing": TEXT, "texts": N, "answer": {...}} answers so when a text to embed
    contains TEXT, or there are more than N of them; "zero": TEXT gives texts that contain it an
    embedding of zeros.

    An answer counts every byte of the messages as a prompt token, and eight more a message: no
    tokenizer counts more. Requests of /responses and /messages get the same answers in their form.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings

    def answer(self, request: Request, send: Any) -> None:
        key = self.settings.get("key")
        path = request.path.split("?")[0]
        if key and request.headers.get("authorization") != f"Bearer {key}":
            send(answer_bytes(401, error_body(401, "No auth credentials found")))
        elif request.method == "GET" and path.endswith("/models"):
            send(answer_bytes(200, {"data": self.settings.get("models", [])}))
        elif path.endswith("/embeddings"):
            self._embeddings(json.loads(request.body), send)
        elif path.endswith("/chat/completions"):
            self._chat(json.loads(request.body), send)
        elif path.endswith("/responses"):
            self._responses(json.loads(request.body), send)
        elif path.endswith("/messages"):
            self._messages(json.loads(request.body), send)
        else:
            send(answer_bytes(404, error_body(404, f"no such path: {request.path}")))

    def _embeddings(self, body: dict[str, Any], send: Any) -> None:
        encoded = body.get("encoding_format") == "base64"
        if encoded and self.settings.get("base64") is False:
            send(answer_bytes(400, error_body(400, "encoding_format: expected float")))
            return
        refuse = self.settings.get("refuse", {})
        bad = refuse.get("containing")
        too_many = len(body["input"]) > refuse.get("texts", len(body["input"]))
        if too_many or (bad and any(bad in text for text in body["input"])):
            answer = refuse["answer"]
            send(answer_bytes(answer["status"], answer["json"], answer.get("headers")))
            return
        dimension = self.settings.get("dimension", 1024)
        data = []
        for index, text in enumerate(body["input"]):
            values: Any = embedding_of(text, dimension)
            if "zero" in self.settings and self.settings["zero"] in text:
                values = [0.0] * dimension
            if encoded and self.settings.get("base64") != "ignored":
                values = base64.b64encode(struct.pack(f"<{dimension}f", *values)).decode()
            data.append({"object": "embedding", "index": index, "embedding": values})
        data.reverse()  # any order is allowed
        send(answer_bytes(200, {"object": "list", "data": data, "model": body["model"]}))

    def _text(self, query: str) -> str:
        text: str = self.settings.get("text", "An answer to: {query}")
        return text.replace("{query}", query)

    def _stream(self, send: Any, events: list[dict[str, Any]]) -> None:
        """Events that are named after their type."""
        send(STREAM_HEAD)
        for data in events:
            send(chunk(b"event: " + data["type"].encode() + b"\n" + event(data)))
            if "pause" in self.settings:
                threading.Event().wait(self.settings["pause"])
        send(b"0\r\n\r\n")

    def _responses(self, body: dict[str, Any], send: Any) -> None:
        given = body["input"]
        query = given if isinstance(given, str) else plain_text(given[-1]["content"])
        text, tokens = self._text(query), self.settings.get("tokens", 7)
        part = {"type": "output_text", "text": text, "annotations": []}
        item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed"}
        usage = {
            "input_tokens": len(query.encode()) + 8,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": len(query.encode()) + 8 + tokens,
        }
        response = {
            "id": "resp_1",
            "object": "response",
            "created_at": 1,
            "status": "completed",
            "model": body["model"],
            "output": [item | {"content": [part]}],
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "usage": usage,
        }
        if not body.get("stream"):
            send(answer_bytes(200, response))
            return
        begun = response | {"status": "in_progress", "output": [], "usage": None}
        place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
        events: list[dict[str, Any]] = [
            {"type": "response.created", "response": begun},
            {"type": "response.in_progress", "response": begun},
            {
                "type": "response.output_item.added",
                "output_index": 0,
                "item": item | {"status": "in_progress", "content": []},
            },
            {"type": "response.content_part.added", "part": part | {"text": ""}} | place,
            *(
                {"type": "response.output_text.delta", "delta": piece, "logprobs": []} | place
                for piece in re.findall(r"\S+\s*|\s+", text)
            ),
            {"type": "response.output_text.done", "text": text, "logprobs": []} | place,
            {"type": "response.content_part.done", "part": part} | place,
            {
                "type": "response.output_item.done",
                "output_index": 0,
                "item": item | {"content": [part]},
            },
            {"type": "response.completed", "response": response},
        ]
        self._stream(send, [data | {"sequence_number": i} for i, data in enumerate(events)])

    def _messages(self, body: dict[str, Any], send: Any) -> None:
        query = plain_text(body["messages"][-1]["content"])
        text, tokens = self._text(query), self.settings.get("tokens", 7)
        usage = {"input_tokens": len(query.encode()) + 8, "output_tokens": tokens}
        message = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": body["model"],
            "content": [{"type": "text", "text": text}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": usage,
        }
        if not body.get("stream"):
            send(answer_bytes(200, message))
            return
        begun = message | {"content": [], "stop_reason": None}
        begun["usage"] = usage | {"output_tokens": 1}
        block = {"type": "text", "text": ""}
        ending = {"stop_reason": "end_turn", "stop_sequence": None}
        self._stream(
            send,
            [
                {"type": "message_start", "message": begun},
                {"type": "content_block_start", "index": 0, "content_block": block},
                {"type": "ping"},
                *(
                    {
                        "type": "content_block_delta",
                        "index": 0,
                        "delta": {"type": "text_delta", "text": piece},
                    }
                    for piece in re.findall(r"\S+\s*|\s+", text)
                ),
                {"type": "content_block_stop", "index": 0},
                {"type": "message_delta", "delta": ending, "usage": {"output_tokens": tokens}},
                {"type": "message_stop"},
            ],
        )

    def _chat(self, body: dict[str, Any], send: Any) -> None:
        for name in self.settings.get("rejects", []):
            if name in body:
                message = f"Unsupported parameter: '{name}' is not supported with this model."
                send(answer_bytes(400, {"error": {"message": message, "param": name}}))
                return
        cap = body.get("max_completion_tokens", body.get("max_tokens"))
        tokens = self.settings.get("tokens", 7)
        if tokens == "all":
            tokens = 4_000_000 if cap is None else cap
        finish = "stop"
        if cap is not None and tokens >= cap:
            tokens, finish = cap, "length"
        reasoning = min(self.settings.get("reasoning", 0), tokens)
        text = self._text(plain_text(body["messages"][-1]["content"]))
        if reasoning == tokens:
            text = ""
        served = self.settings.get("served_model", body["model"])
        prompt = sum(
            len(plain_text(message["content"]).encode()) + 8 for message in body["messages"]
        )
        usage: dict[str, Any] = {
            "prompt_tokens": prompt,
            "completion_tokens": tokens,
            "total_tokens": prompt + tokens,
            "completion_tokens_details": {"reasoning_tokens": reasoning},
        }
        if served in self.settings.get("prices", {}):
            price = self.settings["prices"][served]
            if isinstance(price, list):
                price = {"input_price_per_million": price[0], "output_price_per_million": price[1]}
            kind = self.settings.get("prompt")
            details = {"cached_tokens": prompt} if kind == "cached" else {}
            if kind == "written":
                details = {"cache_write_tokens": prompt}
            usage["prompt_tokens_details"] = details
            if not self.settings.get("silent"):
                images = self.settings.get("images", 0)
                usage["cost"] = bill(price, kind, prompt, tokens - reasoning, reasoning, images)
        if self.settings.get("hides_details"):
            usage = {name: count for name, count in usage.items() if not name.endswith("_details")}
        if not body.get("stream"):
            message = {"role": "assistant", "content": text}
            choice = {"index": 0, "message": message, "finish_reason": finish}
            common = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1}
            send(
                answer_bytes(200, common | {"model": served, "choices": [choice], "usage": usage})
            )
            return
        send(STREAM_HEAD)
        deltas = [{"role": "assistant", "content": ""}]
        deltas += [{"content": piece} for piece in re.findall(r"\S+\s*|\s+", text)]
        send(chunk(b": PROCESSING\n\n"))
        for delta in deltas:
            send(chunk(event({"model": served, "choices": [{"index": 0, "delta": delta}]})))
            if "pause" in self.settings:
                threading.Event().wait(self.settings["pause"])
        last = {"index": 0, "delta": {}, "finish_reason": finish}
        send(chunk(event({"model": served, "choices": [last]})))
        send(chunk(event({"model": served, "choices": [], "usage": usage})))
        send(chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")


STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)


def plain_text(content: Any) -> str:
    """The text of a message, which may be a list of parts."""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)


def error_body(code: int | str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}


def event(data: Any) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def answer_bytes(
    status: int,
    body: Any,
    headers: dict[str, str] | None = None,
    text: bool = False,
    compressed: str = "",
) -> bytes:
    content = body.encode() if text else json.dumps(body).encode()
    if compressed:
        content = gzip.compress(content) if compressed == "gzip" else zlib.compress(content)
        headers = {"Content-Encoding": compressed} | (headers or {})
    fields = {
        "Content-Type": "text/plain" if text else "application/json",
        "Content-Length": str(len(content)),
    } | (headers or {})
    lines = [f"HTTP/1.1 {status} Status"] + [f"{name}: {value}" for name, value in fields.items()]
    return "\r\n".join([*lines, "", ""]).encode() + content


class _Connection:
    """One client's connection: reads requests and carries out the steps for each."""

    def __init__(self, server: FaultServer, stream: socket.socket, number: int) -> None:
        self._server = server
        self._stream = stream
        self._number = number
        self._buffer = b""

    def serve(self) -> None:
        try:
            while True:
                request = self._read_request()
                for step in self._server.steps_for(request):
                    self._carry_out(step, request)
        except (Hangup, OSError):
            pass
        finally:
            self._server.record_end(self._number)
            self._stream.close()

    def _receive(self) -> None:
        block = self._stream.recv(1 << 16)
        if not block:
            raise Hangup
        self._buffer += block

    def _read_request(self) -> Request:
        while b"\r\n\r\n" not in self._buffer:
            self._receive()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *fields = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        headers = {}
        for field in fields:
            name, _, value = field.partition(":")
            headers[name.lower()] = value.strip()
        if method == "CONNECT":
            self._tunnel(target)
        length = int(headers.get("content-length", 0))
        while len(self._buffer) < length:
            self._receive()
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        proxied = target.startswith("http://")
        path = re.sub("^http://[^/]*", "", target) if proxied else target
        return Request(method, path, headers, body, self._number, proxied)

    def _tunnel(self, target: str) -> None:
        self._server.record_tunnel(target)
        host, _, port = target.rpartition(":")
        with socket.create_connection((host, int(port))) as other:
            self._stream.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
            while True:
                for ready in select.select([self._stream, other], [], [])[0]:
                    block = ready.recv(1 << 16)
                    if not block:
                        raise Hangup
                    (other if ready is self._stream else self._stream).sendall(block)

    def _wait(self, seconds: float) -> None:
        """Sleeps, but no longer than the client is there."""
        if select.select([self._stream], [], [], seconds)[0] and not self._buffer:
            self._receive()

    def _carry_out(self, step: dict[str, Any], request: Request) -> None:
        send = self._stream.sendall
        if "answer" in step:
            answer = step["answer"]
            text = "text" in answer
            body = answer["text"] if text else answer.get("json", {})
            coding = answer.get("compressed", "")
            send(answer_bytes(answer.get("status", 200), body, answer.get("headers"), text, coding))
        elif "service" in step:
            Service(step["service"]).answer(request, send)
        elif "send" in step:
            send(step["send"].encode())
        elif "send_base64" in step:
            send(base64.b64decode(step["send_base64"]))
        elif "trickle" in step:
            for byte in step["trickle"].encode():
                send(bytes([byte]))
                self._wait(step["every"])
        elif "endless" in step:
            block = step["endless"].encode() * (1 + 65536 // len(step["endless"]))
            while True:
                send(block)
        elif "wait" in step:
            self._wait(step["wait"])
        elif "reset" in step:
            # Linger for no time: the system sends RST instead of FIN.
            self._stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if isinstance(self._stream, ssl.SSLSocket):
                self._stream = socket.socket(fileno=self._stream.detach())
            raise Hangup
        elif "close" in step:
            raise Hangup
        else:
            raise ValueError(f"unknown step: {step}")


class FaultServer:
    """The server; every method may be called from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._scripts: dict[str, list[list[dict[str, Any]]]] = {}
        self._requests: dict[str, list[Request]] = {}
        self._tunnels: list[str] = []
        self._connections = 0
        self._ends: dict[int, float] = {}
        self._listeners: list[socket.socket] = []
        self._folder = tempfile.mkdtemp(prefix="fault-server-")
        self.port = self.listen("http")

    def close(self) -> None:
        for listener in self._listeners:
            listener.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def ca_file(self) -> str:
        """The authority that has signed the certificates of the ports with TLS."""
        return f"{self._folder}/authority.pem"

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def script(self, answers: list[list[dict[str, Any]]]) -> str:
        """Registers answers; returns the path below which they are given."""
        with self._lock:
            path = f"/{len(self._scripts) + 1}"
            self._scripts[path], self._requests[path] = answers, []
        return path

    def requests(self, path: str) -> list[Request]:
        with self._lock:
            return list(self._requests[path])

    @property
    def tunnels(self) -> list[str]:
        """Where CONNECT requests have asked to be let through to."""
        with self._lock:
            return list(self._tunnels)

    @property
    def ends(self) -> dict[int, float]:
        """When connections have ended, by time.monotonic()."""
        with self._lock:
            return dict(self._ends)

    def record_end(self, connection: int) -> None:
        with self._lock:
            self._ends[connection] = time.monotonic()

    def record_tunnel(self, target: str) -> None:
        with self._lock:
            self._tunnels.append(target)

    def steps_for(self, request: Request) -> list[dict[str, Any]]:
        path = "/" + request.path.split("/")[1].split("?")[0]
        with self._lock:
            if path not in self._scripts:
                return [{"answer": {"status": 404, "json": error_body(404, "no such script")}}]
            answers = self._scripts[path]
            self._requests[path].append(request)
            return answers[min(len(self._requests[path]), len(answers)) - 1]

    def closed_port(self) -> int:
        """A port that nothing listens on."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
            return port

    def listen(self, kind: str) -> int:
        """Opens another port: "http", or TLS with a "good", "expired" or "wrong-host"
        certificate."""
        context = None
        if kind != "http":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self._certificate(kind))
        listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._listeners.append(listener)
        threading.Thread(target=self._accept, args=(listener, context), daemon=True).start()
        port: int = listener.getsockname()[1]
        return port

    def _accept(self, listener: socket.socket, context: ssl.SSLContext | None) -> None:
        while True:
            try:
                stream, _ = listener.accept()
            except OSError:
                return  # closed
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._connections += 1
                number = self._connections
            threading.Thread(
                target=self._serve, args=(stream, context, number), daemon=True
            ).start()

    def _serve(self, stream: socket.socket, context: ssl.SSLContext | None, number: int) -> None:
        if context is not None:
            try:
                stream = context.wrap_socket(stream, server_side=True)
            except OSError:  # a client that does not trust us
                stream.close()
                return
        _Connection(self, stream, number).serve()

    def _openssl(self, arguments: str) -> None:
        command = ["openssl", *arguments.split()]
        subprocess.run(command, cwd=self._folder, check=True, capture_output=True)

    def _write(self, name: str, contents: str = "") -> None:
        with open(f"{self._folder}/{name}", "w") as file:
            file.write(contents)

    def _certificate(self, kind: str) -> tuple[str, str]:
        """Files of a certificate and its key, signed by an authority of this server's own."""
        new_key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc"
        with self._lock:
            if not os.path.exists(self.ca_file):
                self._openssl(
                    f"req -x509 {new_key} -keyout authority-key.pem -out authority.pem "
                    "-subj /CN=Authority -days 2"
                )
                self._openssl(f"req {new_key} -keyout key.pem -out request.pem -subj /CN=localhost")
                self._write("ca.conf", _AUTHORITY_SETTINGS)
            names = "DNS:localhost,IP:127.0.0.1"
            if kind == "wrong-host":
                names = "DNS:elsewhere.invalid"
            self._write("names.conf", f"subjectAltName={names}\n")
            self._write("index.txt")
            end = "20200201" if kind == "expired" else "20990101"
            self._openssl(
                f"ca -batch -config ca.conf -in request.pem -out {kind}.pem "
                f"-startdate 20200101000000Z -enddate {end}000000Z -extfile names.conf"
            )
        return f"{self._folder}/{kind}.pem", f"{self._folder}/key.pem"


_AUTHORITY_SETTINGS = """\
[ca]
default_ca = test
[test]
database = index.txt
new_certs_dir = .
certificate = authority.pem
private_key = authority-key.pem
default_md = sha256
rand_serial = yes
policy = any
[any]
commonName = supplied
"""


def main() -> None:
    server = FaultServer()
    for line in sys.stdin:
        command = json.loads(line)
        result: dict[str, Any]
        if "script" in command:
            result = {"path": server.script(command["script"])}
        elif "requests" in command:
            requests = [
                request._asdict() | {"body": request.body.decode("utf-8", "replace")}
                for request in server.requests(command["requests"])
            ]
            result = {"requests": requests}
        elif "tunnels" in command:
            result = {"tunnels": server.tunnels}
        elif "listen" in command:
            result = {"port": server.listen(command["listen"]), "ca_file": server.ca_file}
        elif "ends" in command:
            result = {"ends": server.ends}
        elif "closed_port" in command:
            result = {"port": server.closed_port()}
        else:
            raise ValueError(f"unknown command: {line}")
        print(json.dumps(result), flush=True)
    server.close()


if __name__ == "__main__":
    main()
