"""A Fathom server for a measurement. Standard library only."""
import json
import socket
import subprocess
import time
import urllib.request


class Server:
    def __init__(self, fathom, model, *flags):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.process = subprocess.Popen([fathom, "launch_server", "--model-path", model, "--port", str(self.port),
                                         "--log-level", "warning", *flags])
        deadline = time.monotonic() + 300
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=2).read()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"{model} cannot be served")
                time.sleep(0.1)

    def post(self, path, body):
        """The body of the answer as bytes."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=600) as answer:
            return answer.read()

    def post_json(self, path, body):
        return json.loads(self.post(path, body))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(60)
