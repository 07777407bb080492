"""HTTPS with a certificate made here."""
import json
import socket
import ssl
import subprocess
import urllib.request

import pytest
from conftest import STUCK, free_port, run_fathom


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-days", "2",
                    "-passout", "pass:open sesame", "-keyout", key, "-out", cert, "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"], check=True, capture_output=True)
    return cert, key


@pytest.fixture(scope="module")
def https(certificate):
    from conftest import Server
    cert, key = certificate

    class TlsServer(Server):
        def wait_ready(self, seconds=STUCK):
            self.url = f"https://127.0.0.1:{self.port}"
            self.context = ssl.create_default_context(cafile=str(cert))
            urllib.request.install_opener(urllib.request.build_opener(urllib.request.HTTPSHandler(context=self.context)))
            super().wait_ready(seconds)

    server = TlsServer("--ssl-certfile", cert, "--ssl-keyfile", key, "--ssl-keyfile-password", "open sesame")
    yield server
    server.stop()
    urllib.request.install_opener(urllib.request.build_opener())


BODY = {"text": "Hello", "sampling_params": {"max_new_tokens": 20, "ignore_eos": True}}


def test_requests_and_streams(https):
    assert https.generate(**BODY)["meta_info"]["completion_tokens"] == 20
    status, text = https.request("POST", "/generate", {**BODY, "stream": True})
    assert status == 200 and text.endswith("data: [DONE]\n\n") and text.count("data: ") == 21
    long_prompt = {"input_ids": [5] * 30000, "sampling_params": {"max_new_tokens": 1}}
    assert https.request("POST", "/generate", long_prompt)[0] == 400  # many TLS records, then a plain error


def test_keep_alive_and_pipelining(https):
    with socket.create_connection(("127.0.0.1", https.port)) as plain, \
            https.context.wrap_socket(plain, server_hostname="localhost") as secure:
        assert secure.version() in ("TLSv1.2", "TLSv1.3")
        body = json.dumps(BODY).encode()
        post = b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        secure.sendall(post + b"GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b""
        while chunk := secure.recv(65536):
            answer += chunk
    assert answer.count(b"HTTP/1.1 200 OK") == 2 and b'"object":"list"' in answer


def test_a_client_that_leaves_frees_the_engine(https):
    body = json.dumps({"input_ids": [5], "sampling_params": {"max_new_tokens": 1500, "ignore_eos": True}, "stream": True}).encode()
    plain = socket.create_connection(("127.0.0.1", https.port))
    secure = https.context.wrap_socket(plain, server_hostname="localhost")
    secure.sendall(b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    assert secure.recv(1000)
    secure.close()
    https.wait_idle()


def test_plain_http_and_silence_are_turned_away(https):
    with socket.create_connection(("127.0.0.1", https.port), timeout=STUCK) as s:
        s.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b""
        try:
            while chunk := s.recv(1000):
                answer += chunk
        except ConnectionResetError:
            pass
        assert b"HTTP" not in answer
    with socket.create_connection(("127.0.0.1", https.port), timeout=STUCK) as s:
        assert s.recv(1) == b""  # the handshake has 10 seconds
    assert https.generate(**BODY)


def test_bad_files_are_named_at_the_start(certificate, tmp_path):
    cert, key = certificate
    other = tmp_path / "other.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-out", other],
                   check=True, capture_output=True)
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("not a certificate")
    good_key = ["--ssl-keyfile", key, "--ssl-keyfile-password", "open sesame"]
    for flags, words in (
            (["--ssl-certfile", tmp_path / "missing.pem", *good_key], ["--ssl-certfile", "missing.pem", "no such file"]),
            (["--ssl-certfile", garbage, *good_key], ["--ssl-certfile", "garbage.pem", "PEM"]),
            (["--ssl-certfile", cert, "--ssl-keyfile", other], ["--ssl-keyfile", "does not belong"]),
            (["--ssl-certfile", cert, "--ssl-keyfile", key, "--ssl-keyfile-password", "wrong"], ["--ssl-keyfile-password is wrong"]),
            (["--ssl-certfile", cert, *good_key, "--ssl-ca-certs", garbage], ["--ssl-ca-certs", "garbage.pem"]),
            (["--ssl-certfile", cert], ["needs both"])):
        code, text = run_fathom("launch_server", "--port", free_port(), *flags)
        assert code in (1, 2), text
        for word in words:
            assert word in text, (flags, text)
