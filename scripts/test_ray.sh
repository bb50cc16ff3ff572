#!/usr/bin/env bash
# The tests that start Ray, a real S3 server or take long, in two lanes
#
# Those marked `slow` or without Ray run in one process of one busy core, beside it those with Ray,
# whose clusters leave a third of the cores idle while they start. The files that share a cluster share a process; every other one
# has its own, as Ray Serve leaves threads behind that outlive its cluster and break the next one.
set -uo pipefail
cd "$(dirname "$0")/.."
failed=()
beside=$(mktemp)
trap 'rm -f "$beside"' EXIT

check() { # the words of one call of pytest
  echo "== $*"
  .venv/bin/python -m pytest --durations=3 "$@"
  code=$?
  # 5: nothing was selected in this file.
  if [ "$code" -ne 0 ] && [ "$code" -ne 5 ]; then failed+=("$*"); return 1; fi
}

(check -m '(slow or (s3 or browser) and not ray) and not gpu' tests "$@") >"$beside" 2>&1 &
lane=$!
with_ray=$(grep -rlE 'mark\.ray' tests --include='test_*.py' | sort)
for cluster in '\bembedded_ray\b' '\btwo_nodes\b'; do
  mapfile -t files < <(grep -lE "$cluster" $with_ray)
  check -m 'ray and not slow and not gpu' "${files[@]}" "$@"
done
for file in $(grep -LE '\b(embedded_ray|two_nodes)\b' $with_ray); do
  check -m 'ray and not slow and not gpu' "$file" "$@"
done
wait "$lane" || failed+=("slow, or S3 without Ray")
cat "$beside"
if [ "${#failed[@]}" -gt 0 ]; then
  printf 'failed: %s\n' "${failed[@]}"
  exit 1
fi
