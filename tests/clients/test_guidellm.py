"""guidellm: a short benchmark, whose requests must all succeed."""
import json
import os
import pathlib
import subprocess
import sys

DEMO = pathlib.Path(__file__).resolve().parents[2] / "demo" / "bf16"


def test_benchmark(url, tmp_path):
    report = tmp_path / "report.json"
    run = subprocess.run(
        [pathlib.Path(sys.executable).parent / "guidellm", "benchmark", "run", "--target", url, "--rate-type", "concurrent", "--rate", "2",
         "--max-requests", "6", "--data", "prompt_tokens=24,output_tokens=8", "--processor", DEMO, "--output-path", report,
         "--disable-progress", "--disable-console-outputs"],
        env={**os.environ, "HF_HUB_OFFLINE": "1"}, capture_output=True, text=True, timeout=240)
    assert run.returncode == 0, run.stderr[-3000:]
    benchmark = json.loads(report.read_text())["benchmarks"][0]
    assert benchmark["request_totals"]["successful"] == 6 and benchmark["request_totals"]["errored"] == 0
    assert all(request["output_tokens"] == 8 for request in benchmark["requests"]["successful"])
