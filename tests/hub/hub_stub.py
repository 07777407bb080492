"""A stand-in Hugging Face hub for tests: a few models, in memory, on the loopback.

Prints its port. With a folder as argument the models are that folder's files (v2 with half the
context), else small made-up ones. org/model has two revisions, org/gated wants the token "secret", org/broken breaks
off in the middle of its weights, but sends the rest to those who come back for it. org/sharded has its weights in two
files, org/tokenizer has no model.
"""

import json
import pathlib
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMITS = {"main": "1111aaaa", "v2": "2222bbbb"}
MODELS = {"org/model", "org/gated", "org/broken", "org/sharded", "org/tokenizer"}
WEIGHTS = bytes(range(250)) * 4000


def files(model, commit):
    found = all_files(commit)
    if model == "org/tokenizer":
        return {name: found[name] for name in found if name.startswith("tokenizer")} | {"tokenizer_config.json": found.get("tokenizer_config.json", b"{}")}
    if model == "org/sharded":
        names = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
        index = {"weight_map": {"a": names[0], "b": names[1]}}
        del found["model.safetensors"]
        found |= {"model.safetensors.index.json": json.dumps(index).encode(), **dict.fromkeys(names, WEIGHTS)}
    return found


def all_files(commit):
    name = {v: k for k, v in COMMITS.items()}[commit]
    if len(sys.argv) > 1:
        found = {path.name: path.read_bytes() for path in pathlib.Path(sys.argv[1]).iterdir()}
        if name == "v2":
            config = json.loads(found["config.json"])
            config["max_position_embeddings"] //= 2
            found["config.json"] = json.dumps(config).encode()
        return found
    return {
        "README.md": b"not wanted",
        "config.json": json.dumps({"revision": name}).encode(),
        "model.safetensors": WEIGHTS,
        "tokenizer.json": b"{}",
    }


class Hub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def refuse(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self):
        info = re.fullmatch(r"/api/models/(org/\w+)(?:/revision/(.+))?", self.path)
        file = re.fullmatch(r"/(org/\w+)/resolve/([^/]+)/(.+)", self.path)
        found = info or file
        if not found or found[1] not in MODELS:
            return self.refuse(404)
        revision = found[2] or "main"
        commit = COMMITS.get(revision, revision)
        if commit not in COMMITS.values():
            return self.refuse(404)
        if found[1] == "org/gated" and self.headers.get("Authorization") != "Bearer secret":
            return self.refuse(401)
        if info:
            body = {"sha": commit, "siblings": [{"rfilename": name} for name in files(found[1], commit)]}
            return self.send(200, json.dumps(body).encode(), {})
        content = files(found[1], commit).get(file[3])
        if content is None:
            return self.refuse(404)
        return self.send_file(commit, file[3], content, broken=found[1] == "org/broken")

    def send_file(self, commit, name, content, broken):
        headers = {"x-repo-commit": commit, "etag": f'"{commit}-{name}"'}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not wanted:
            return self.send(200, content, headers)
        first = int(wanted[1])
        last = min(int(wanted[2] or len(content)), len(content) - 1)
        if first >= len(content):
            return self.refuse(416)
        headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        breaks = broken and name == "model.safetensors" and first == 0 and last > 0
        self.send(206, content[first : last + 1], headers, breaks)

    def send(self, status, body, headers, breaks=False):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if breaks else body)
        if breaks:
            self.close_connection = True


class Server(ThreadingHTTPServer):
    def handle_error(self, *_):
        """Clients that leave are part of the tests."""


if __name__ == "__main__":
    server = Server(("127.0.0.1", 0), Hub)
    print(server.server_address[1], flush=True)
    server.serve_forever()
