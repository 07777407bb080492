"""lm-eval's API models: a GSM8K-style task on the demo model's held-out questions, and a loglikelihood task."""
import json
import pathlib

import lm_eval
import pytest
from lm_eval.tasks import TaskManager

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEMO = ROOT / "demo"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The first questions, and the same with a wrong answer beside the right one."""
    folder = tmp_path_factory.mktemp("data")
    rows = [json.loads(line) for line in (DEMO / "test.jsonl").read_text().splitlines()[:16]]
    for row in rows:
        row["number"] = row["answer"].split("####")[1].strip()
        row["wrong"] = row["answer"].replace(row["number"], str(int(row["number"]) + 1))
    path = folder / "questions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def shots():
    few = [json.loads(line) for line in (DEMO / "fewshot.jsonl").read_text().splitlines()[:4]]
    return "".join(f"Question: {row['question']}\nAnswer: {row['answer']}\n\n" for row in few)


def task(name, data, doc_to_text, **more):
    return {"task": name, "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(data)}}, "test_split": "test",
            "doc_to_text": doc_to_text, **more}


def generation_task(name, data, doc_to_text):
    """The answer's last number counts."""
    return task(name, data, doc_to_text, output_type="generate_until", doc_to_target="{{number}}",
                generation_kwargs={"until": ["Question:"], "max_gen_toks": 300, "temperature": 0},
                filter_list=[{"name": "last_number", "filter": [
                    {"function": "regex", "regex_pattern": r"(-?[0-9]+)", "group_select": -1}, {"function": "take_first"}]}],
                metric_list=[{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}])


def evaluate(model, arguments, task, **more):
    results = lm_eval.simple_evaluate(model=model, model_args={"num_concurrent": 4, "max_retries": 1, "model": "fathom-demo", **arguments},
                                      tasks=[task], bootstrap_iters=0, **more,
                                      task_manager=TaskManager(include_defaults=False))  # reading all tasks takes minutes
    return results["results"][task["task"]]


def test_generation_by_completions(url, data, shots):
    score = evaluate("local-completions", {"base_url": url + "/v1/completions", "tokenizer_backend": "remote"},
                     generation_task("demo_generate", data, shots + "Question: {{question}}\nAnswer:"))
    assert score["exact_match,last_number"] >= 0.5


def test_generation_by_chat(url, data):
    score = evaluate("local-chat-completions", {"base_url": url + "/v1/chat/completions", "tokenizer_backend": None},
                     generation_task("demo_chat", data, "{{question}}"), apply_chat_template=True)
    assert score["exact_match,last_number"] >= 0.5


@pytest.mark.parametrize("tokenizer", [{"tokenizer_backend": "remote"},
                                       {"tokenizer_backend": "huggingface", "tokenizer": str(DEMO / "bf16")}])
def test_loglikelihood(url, data, shots, tokenizer):
    choice = task("demo_choice", data, shots + "Question: {{question}}\nAnswer:", output_type="multiple_choice",
                  doc_to_choice=["{{answer}}", "{{wrong}}"], doc_to_target=0)
    score = evaluate("local-completions", {"base_url": url + "/v1/completions", **tokenizer}, choice)
    assert score["acc,none"] >= 0.5
