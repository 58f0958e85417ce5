#!/bin/sh
# Writes codecs/src/payload/flatbuffers/telemetry_generated.rs from telemetry.fbs.
# Needs python3 and the compiler that matches the crate flatbuffers 25.12.19; docs/format/telemetry.md says how to build it.
# usage: FLATC=/path/to/flatc codecs/schemas/generate.sh
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out="$here/../src/payload/flatbuffers"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"${FLATC:-flatc}" --rust -o "$scratch" "$here/telemetry.fbs"
crc=$(python3 -c 'import sys, zlib; print("%08x" % zlib.crc32(open(sys.argv[1], "rb").read()))' "$here/telemetry.fbs")
{
    echo "// CRC-32 of codecs/schemas/telemetry.fbs: $crc"
    cat "$scratch/telemetry_generated.rs"
} > "$out/telemetry_generated.rs"
