#!/usr/bin/env bash
# The tests that start Ray, a real S3 server or take long, in two lanes
#
# A cluster's start leaves a third of two cores idle. So beside the files that share a cluster, and
# with it a process, go those marked `slow` or without Ray, in one process, then small clusters, each
# in a process of its own: Ray Serve leaves threads behind that outlive its cluster and break the
# next one. The endpoint comes last and alone: its tests have deadlines.
set -uo pipefail
cd "$(dirname "$0")/.."
failed=()
ENDPOINT=tests/platform/serving/test_endpoint.py
SHARED='\b(embedded_ray|two_nodes)\b'
WITH_RAY='ray and not slow and not gpu'
beside=$(mktemp)
trap 'rm -f "$beside"' EXIT

check() { # the words of one call of pytest
  echo "== $*"
  .venv/bin/python -m pytest --durations=3 "$@"
  code=$?
  # 5: nothing was selected in this file.
  if [ "$code" -ne 0 ] && [ "$code" -ne 5 ]; then failed+=("$*"); fi
}

verdict() {
  if [ "${#failed[@]}" -gt 0 ]; then
    printf 'failed: %s\n' "${failed[@]}"
    return 1
  fi
}

second_lane() {
  check -m '(slow or (s3 or browser) and not ray) and not gpu' tests "$@"
  for file in $(grep -LE "$SHARED" $with_ray); do
    if [ "$file" != "$ENDPOINT" ]; then check -m "$WITH_RAY" "$file" "$@"; fi
  done
  verdict
}

with_ray=$(grep -rlE 'mark\.ray' tests --include='test_*.py' | sort)
second_lane "$@" >"$beside" 2>&1 &
lane=$!
for cluster in '\bembedded_ray\b' '\btwo_nodes\b'; do
  mapfile -t files < <(grep -lE "$cluster" $with_ray)
  check -m "$WITH_RAY" "${files[@]}" "$@"
done
wait "$lane" || failed+=("in the second lane, below")
check -m "$WITH_RAY" "$ENDPOINT" "$@"
cat "$beside"
verdict
