#!/bin/sh
# Does this revision make launches slower than another one? Run it in the project's folder, in a clone with history:
#
#     sh gate.sh origin/main --project
#     sh gate.sh HEAD~1 -m my_project.definitions -d src --trials 12
#
# It exits as `bench gate` does, and writes gate.xml (JUnit) and gate.md.
set -eu
base=${1:?name the revision to compare with, such as origin/main}
shift
checkout=$(mktemp -d)
trap 'git worktree remove --force "$checkout"' EXIT
git worktree add --quiet --detach "$checkout" "$base"
bench gate "$@" --against "$checkout" --max-regression 10% --junit gate.xml --markdown gate.md
