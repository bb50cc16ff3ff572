#!/usr/bin/env bash
# The tests that start Ray, a real S3 server or take long. Those without Ray share two processes;
# those with Ray keep both cores busy, so one file runs at a time. The files that share a cluster
# share a process; every other one has its own, as Ray Serve leaves threads behind that outlive its
# cluster and break the next one.
set -uo pipefail
cd "$(dirname "$0")/.."
failed=()

check() { # the words of one call of pytest
  echo "== $*"
  .venv/bin/python -m pytest --durations=3 "$@"
  code=$?
  # 5: nothing was selected in this file.
  if [ "$code" -ne 0 ] && [ "$code" -ne 5 ]; then failed+=("$*"); fi
}

check -n 2 --dist loadfile -m '(s3 or slow or browser) and not ray and not gpu' tests "$@"
with_ray=$(grep -rlE 'mark\.ray' tests --include='test_*.py' | sort)
for cluster in '\bembedded_ray\b' '\btwo_nodes\b'; do
  mapfile -t files < <(grep -lE "$cluster" $with_ray)
  check -m 'ray and not gpu' "${files[@]}" "$@"
done
for file in $(grep -LE '\b(embedded_ray|two_nodes)\b' $with_ray); do
  check -m 'ray and not gpu' "$file" "$@"
done
if [ "${#failed[@]}" -gt 0 ]; then
  printf 'failed: %s\n' "${failed[@]}"
  exit 1
fi
