#!/usr/bin/env bash
# Serves the demo model, asks it one question through the API, shows the curl line, keeps serving.
set -euo pipefail
cd "$(dirname "$0")/.."
port=${1:-30000}
question='Tom has 5 apples. He buys 7 more apples. How many apples does Tom have now?'
body='{"model": "default", "stream": true, "messages": [{"role": "user", "content": "'$question'"}]}'

build/fathom launch_server --port "$port" &
server=$!
trap 'kill -TERM $server 2>/dev/null; wait $server 2>/dev/null; exit 0' INT TERM

for _ in $(seq 1 300); do
  kill -0 $server 2>/dev/null || { wait $server; exit $?; }
  curl -fs "http://127.0.0.1:$port/health" >/dev/null 2>&1 && break
  sleep 0.2
done

printf '\nThe demo model answers "%s":\n\n' "$question"
curl -sN "http://127.0.0.1:$port/v1/chat/completions" -H 'Content-Type: application/json' -d "$body" |
  python3 -c '
import json, sys
for line in sys.stdin:
    if line.startswith("data: {"):
        for choice in json.loads(line[6:])["choices"]:
            print(choice["delta"].get("content") or "", end="", flush=True)
print()'
printf '\nThe same with curl:\n\n  curl -N http://127.0.0.1:%s/v1/chat/completions -H "Content-Type: application/json" \\\n    -d '"'%s'"'\n\nServing on port %s until Ctrl-C.\n' \
  "$port" "$body" "$port"
wait $server
