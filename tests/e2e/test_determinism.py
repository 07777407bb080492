"""A request's tokens do not depend on what else is in the batch, on chunking or on the prefix cache."""
import concurrent.futures
import random

from conftest import ROOT

WORDS = (ROOT / "demo" / "test.jsonl").read_text().split()


def requests():
    rng = random.Random(7)
    shared = " ".join(rng.choices(WORDS, k=120))
    for i in range(64):
        own = " ".join(rng.choices(WORDS, k=rng.randint(3, 150)))
        text = shared + " " + own if i % 3 == 0 else own
        params = {"max_new_tokens": rng.randint(4, 40), "temperature": 0}
        if i % 2:
            params.update(temperature=rng.choice([0.7, 1.0, 1.3]), sampling_seed=i, top_p=rng.choice([1.0, 0.9]),
                          top_k=rng.choice([-1, 20]), min_p=rng.choice([0.0, 0.05]))
        if i % 5 == 0:
            params.update(frequency_penalty=0.3, repetition_penalty=1.1)
        if i % 7 == 0:
            params.update(ignore_eos=True)
        yield {"text": text, "sampling_params": params}


def answers(server, concurrency):
    bodies = list(requests())
    with concurrent.futures.ThreadPoolExecutor(concurrency) as pool:
        return [(a["text"], a["output_ids"]) for a in pool.map(lambda body: server.generate(**body), bodies)]


def test_batching_chunking_and_cache_do_not_change_tokens(launch):
    results = {}
    for chunk in (64, 8192):
        server = launch("--chunked-prefill-size", chunk, "--random-seed", 1)
        results[f"one by one, cold, chunk {chunk}"] = answers(server, 1)
        results[f"one by one, warm, chunk {chunk}"] = answers(server, 1)
        results[f"64 at once, warm, chunk {chunk}"] = answers(server, 64)
        server.request("POST", "/flush_cache")
        results[f"64 at once, cold, chunk {chunk}"] = answers(server, 64)
        server.stop()
    server = launch("--disable-radix-cache", "--max-total-tokens", 6000, "--random-seed", 1)
    results["64 at once, no cache, small pool"] = answers(server, 64)
    reference = results["one by one, cold, chunk 64"]
    for name, result in results.items():
        assert result == reference, name
