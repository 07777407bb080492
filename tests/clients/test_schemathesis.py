"""schemathesis: requests made from /openapi.json, valid and not, are never answered with a 5xx."""
import os
import pathlib
import subprocess
import sys


def test_no_request_is_answered_with_a_server_error(url):
    run = subprocess.run(
        [pathlib.Path(sys.executable).parent / "schemathesis", "run", url + "/openapi.json", "--url", url, "--checks", "not_a_server_error",
         "--phases", "examples,fuzzing", "--max-examples", os.environ.get("FATHOM_SCHEMATHESIS_EXAMPLES", "10"), "--seed", "1",
         "--exclude-tag", "admin", "--request-timeout", "60", "--no-color", "--suppress-health-check", "all"],
        capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
