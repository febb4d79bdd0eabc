#!/bin/sh
# A fleet of three: run it once, or again after a change; a peer that exists is left as it is.
set -eu

# peer NAME OPTION…: create the peer unless it is there.
peer() {
    if [ -e "${PEERWAKE_HOME:-$HOME/.peerwake}/peers/$1/.peerwake/profile.json" ]; then
        echo "$1 is there"
    else
        peerwake create "$@"
    fi
}

# Two agents that keep their conversation, in two different clients …
peer author --runtime claude --description "Writes the code; knows the whole repository"
peer reviewer --runtime codex --description "Reviews a change that is named to it and answers with findings"

# … and a worker that starts clean for every task and takes one at a time.
peer tester --runtime claude --ephemeral --description "Runs the test suite of a branch and reports"

peerwake list
