#!/usr/bin/env bash
# Installs what the tests need beside a Rust toolchain: Debian's mosquitto-clients, strace, libfaketime and chromium, a C compiler with
# binutils (SQLite is built from source, and a device in C is tested), Node.js with the packages of tests/browser, and a Python
# environment in .venv with the packages of tests/requirements.txt.
# Does nothing where all is there already. Needs root (or sudo) only where a Debian package is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { echo "setup: $*"; }

has() { command -v "$1" >/dev/null 2>&1; }

packages=()
has cargo || { say "no cargo: install Rust 1.95 or later first (https://rustup.rs)" >&2; exit 2; }
has cc || packages+=(gcc libc6-dev)
# `size` and `nm` measure the C device; gcc brings them on most systems.
has size && has nm || packages+=(binutils)
has mosquitto_pub && has mosquitto_sub || packages+=(mosquitto-clients)
has strace || packages+=(strace)
ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1 || packages+=(libfaketime)
has unshare && has setpriv && has prlimit || packages+=(util-linux)
has chromium || packages+=(chromium)
has node && has npm || packages+=(nodejs npm)
if ! has python3 || ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
    packages+=(python3 python3-venv)
fi

if [ "${#packages[@]}" -gt 0 ]; then
    as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        has sudo || { say "run as root, or install these Debian packages yourself: ${packages[*]}" >&2; exit 2; }
        as_root=(sudo)
    fi
    say "installing ${packages[*]}"
    "${as_root[@]}" apt-get update -qq
    DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
fi

# The stamp says what the environment was made from; a changed list or another Python makes it anew.
wanted="$(python3 --version) $(sha256sum <tests/requirements.txt)"
stamp=.venv/made-from
if [ "$(cat "$stamp" 2>/dev/null || true)" != "$wanted" ]; then
    say "making .venv with $(grep -v '^#' tests/requirements.txt | tr '\n' ' ')"
    python3 -m venv --clear .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --requirement tests/requirements.txt
    echo "$wanted" >"$stamp"
fi

wanted="$(node --version) $(sha256sum <tests/browser/package-lock.json)"
stamp=tests/browser/node_modules/made-from
if [ "$(cat "$stamp" 2>/dev/null || true)" != "$wanted" ]; then
    say "installing the packages of tests/browser"
    npm ci --prefix tests/browser --no-audit --no-fund --loglevel=error
    echo "$wanted" >"$stamp"
fi

say "ready: $(strace --version | head -n 1), $(.venv/bin/python --version), $(dpkg-query -W -f 'mosquitto-clients ${Version}' mosquitto-clients 2>/dev/null || echo mosquitto-clients)"
