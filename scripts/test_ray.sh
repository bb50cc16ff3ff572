#!/usr/bin/env bash
# The tests that start Ray, a real S3 server or take long: one process a file, since Ray Serve leaves
# threads behind that outlive its cluster and break the next one in the same process. Two files at a
# time: most of them wait for processes to start. LANES=1 runs them one by one.
set -uo pipefail
cd "$(dirname "$0")/.."
marks='(ray or s3 or slow or browser) and not gpu'
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

run_file() { # FILE MARKS LOGS [OPTION...]: prints its output as a whole, leaves LOGS/failed
  local file=$1 marks=$2 logs=$3 log code
  shift 3
  log=$logs/${file//\//.}
  .venv/bin/python -m pytest --durations=3 -m "$marks" "$file" "$@" >"$log" 2>&1
  code=$?
  # 5: nothing was selected in this file.
  if [ "$code" -ne 0 ] && [ "$code" -ne 5 ]; then echo "$file" >>"$logs/failed"; fi
  flock "$logs" sh -c 'echo "== $1"; cat "$2"' _ "$file" "$log"
}
export -f run_file

marked=$(grep -rlE 'mark\.(ray|s3|slow|browser)' tests --include='test_*.py' | sort)
# The long ones first, so that no lane ends alone with one.
{ grep _ray.py <<<"$marked"; grep -v _ray.py <<<"$marked"; } |
  xargs -d '\n' -P "${LANES:-2}" -I{} bash -c 'run_file "$@"' _ {} "$marks" "$logs" "$@"
if [ -e "$logs/failed" ]; then
  echo "failed: $(tr '\n' ' ' <"$logs/failed")"
  exit 1
fi
