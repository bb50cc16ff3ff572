#!/usr/bin/env bash
# The tests that start Ray, a real S3 server or take long: one process a file. Ray Serve leaves
# threads behind that outlive its cluster and break the next one in the same process.
set -uo pipefail
cd "$(dirname "$0")/.."
marks='(ray or s3 or slow or browser) and not gpu'
failed=()
for file in $(grep -rlE 'mark\.(ray|s3|slow|browser)' tests --include='test_*.py' | sort); do
  echo "== $file"
  .venv/bin/python -m pytest --durations=3 -m "$marks" "$file" "$@"
  code=$?
  # 5: nothing was selected in this file.
  if [ "$code" -ne 0 ] && [ "$code" -ne 5 ]; then failed+=("$file"); fi
done
if [ "${#failed[@]}" -gt 0 ]; then
  echo "failed: ${failed[*]}"
  exit 1
fi
