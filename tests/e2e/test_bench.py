"""fathom bench_one_batch: SGLang's lines and result file, on the demo model."""
import json
import re
import subprocess

import pytest

from conftest import FATHOM, STUCK


def bench(*args):
    return subprocess.run([FATHOM, "bench_one_batch", "--log-level", "error", *args], capture_output=True, text=True,
                          timeout=STUCK)


def test_every_combination_is_reported(tmp_path):
    results = tmp_path / "result.jsonl"
    done = bench("--batch-size", "1", "3", "--input-len", "24", "--output-len", "5", "--run-name", "here",
                 "--result-filename", str(results))
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^Prefill\. latency: \d+\.\d{5} s, throughput: +\d+\.\d\d token/s$", done.stdout, re.M)) == 2
    assert len(re.findall(r"^Decode\.  median latency: ", done.stdout, re.M)) == 2
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    assert [(row["run_name"], row["batch_size"], row["input_len"], row["output_len"]) for row in rows] == [
        ("here", 1, 24, 5), ("here", 3, 24, 5)]
    for row in rows:
        tokens = row["batch_size"] * (row["input_len"] + row["output_len"])
        assert row["overall_throughput"] == pytest.approx(tokens / row["total_latency"])


def test_options_may_come_from_a_file(tmp_path):
    config = tmp_path / "bench.yaml"
    config.write_text("context-length: 8\nbatch-size: [1, 2]\n")
    done = bench("--config", str(config), "--input-len", "24")
    assert done.returncode == 2 and "exceed the context of 8 tokens" in done.stderr, done.stderr
    done = bench("--config", str(config), "--input-len", "4", "--output-len", "2")
    assert done.returncode == 0 and done.stdout.count("Benchmark: batch size") == 2, done.stderr


def test_prompts_in_pieces_give_the_same_tokens():
    done = bench("--correctness-test", "--cut-len", "3")
    assert done.returncode == 0, done.stderr
    assert "give the same tokens" in done.stdout


@pytest.mark.parametrize("args, message", [
    (["--input-len", "0"], "argument --input-len: '0' is not a number from 1 to"),
    (["--input-len", "1000000"], "exceed the context of"),
    (["--inptu-len", "4"], "--inptu-len"),
])
def test_bad_arguments_are_named(args, message):
    done = bench(*args)
    assert done.returncode == 2
    assert message in done.stderr
