#!/usr/bin/env bash
# Runs the same load against the gateway, rumqttd and mosquitto, one after the other in one session, and prints their
# figures with ratios to the gateway. Arguments go to `load`; without any it is the speed gate of issue A1-11:
#   benches/compare.sh
#   benches/compare.sh --connections 1000 --in-flight 1 --messages 300000
#   benches/compare.sh --connections 5000 --in-flight 1 --rate 5000 --duration-s 30
# ROUNDS=3 repeats the round, so that the scatter is seen. Needs a quiet machine; mosquitto is left out where it is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

rounds="${ROUNDS:-1}"
# Loopback ports that no test uses.
gateway_port=28830 rumqttd_port=28831 mosquitto_port=28832
target="${CARGO_TARGET_DIR:-target}"

cargo build --release --locked -p gateway -p gateway-benches --bins
binaries="$target/release"
mkdir -p "$target/bench-data"
# On the disk of the build, not in a RAM disk: the gateway's acks wait for it.
work="$(mktemp -d "$target/bench-data/compare-XXXXXX")"
trap 'rm -rf "$work"' EXIT
results="$work/results.jsonl"
# Thousands of connections need as many descriptors, on both sides.
ulimit -n "$(ulimit -H -n)"

load=(--connections 50 --in-flight 100 --payload json:256 --messages 1000000)
[ "$#" -eq 0 ] || load=("$@")

measure() { # label durability port command
    echo "--- $1" >&2
    "$binaries/load" --json --label "$1" --durability "$2" --connect "127.0.0.1:$3" --start "$4" "${load[@]}" >>"$results"
}

for round in $(seq "$rounds"); do
    measure "gateway" "synced, decoded, flushed" "$gateway_port" \
        "$binaries/sensor-gateway run --data-dir $work/gateway-$round --mqtt-listen 127.0.0.1:$gateway_port --http-listen 127.0.0.1:0"
    measure "rumqttd" "in memory" "$rumqttd_port" "$binaries/rumqttd-peer --listen 127.0.0.1:$rumqttd_port"
    if command -v mosquitto >/dev/null; then
        printf '%s\n' "listener $mosquitto_port 127.0.0.1" "allow_anonymous true" "persistence false" \
            "max_inflight_messages 1000" "log_type error" >"$work/mosquitto.conf"
        measure "mosquitto" "in memory" "$mosquitto_port" "mosquitto -c $work/mosquitto.conf"
    else
        echo "mosquitto is not installed (apt-get install mosquitto): left out" >&2
    fi
    rm -rf "$work/gateway-$round"
done

"$binaries/load" --ratios "$results"
