#!/usr/bin/env bash
# Brings the real servers the tests use, Debian's mosquitto and influxdb, into .servers/: unpacked, not installed and not
# started, so it needs no root and changes nothing outside the folder; promtool, which checks the alert rules, out of
# Debian's prometheus (19 MB to fetch, 48 MB kept); and docker-compose (2 MB), which reads the stack and starts nothing.
# Prints one line; a second run does nothing.
# Where they cannot be had it says why and ends well: the tests that need them are then skipped with the reason.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly into="$PWD/.servers"
readonly programs=(
    "mosquitto:usr/sbin/mosquitto"
    "influxdb:usr/bin/influxd"
    "prometheus:usr/bin/promtool"
    "docker-compose:usr/bin/docker-compose"
)

missing() {
    local each
    for each in "${programs[@]}"; do
        [[ -x "$into/${each#*:}" ]] || printf '%s\n' "${each%%:*}"
    done
}

skip() {
    printf 'servers: %s; tests that need a server will be skipped\n' "$1"
    exit 0
}

# apt with lists and cache of its own; what is installed on the machine is only read
fetch() {
    apt-get -qq \
        -o Dir::State::lists="$cache/lists" \
        -o Dir::Cache="$cache" \
        -o APT::Sandbox::User=root \
        -o Debug::NoLocking=1 \
        "$@" >>"$cache/log" 2>&1
}

mapfile -t wanted < <(missing)
if ((${#wanted[@]} == 0)); then
    printf 'servers: mosquitto, influxdb, promtool and docker-compose stand in .servers\n'
    exit 0
fi
command -v apt-get >/dev/null && command -v dpkg >/dev/null || skip 'no apt-get on this system'

cache="$(mktemp -d)"
trap 'rm -rf "$cache"' EXIT
mkdir -p "$cache/lists/partial" "$cache/archives/partial" "$into"

fetch update || skip "apt-get update failed ($(grep -m1 '^[EW]:' "$cache/log" || tail -n1 "$cache/log"))"
for package in "${wanted[@]}"; do
    # one at a time: a release that lacks one still brings the others
    if [[ $package == prometheus ]]; then
        (cd "$cache" && fetch download prometheus) || continue
    else
        fetch install --download-only --reinstall --no-install-recommends --yes "$package" || continue
    fi
done
for archive in "$cache"/archives/*.deb; do
    if [[ -e "$archive" ]]; then dpkg --extract "$archive" "$into"; fi
done
# of prometheus the one program, which needs nothing else
for archive in "$cache"/prometheus_*.deb; do
    if [[ -e "$archive" ]]; then dpkg --fsys-tarfile "$archive" | tar --extract --directory "$into" ./usr/bin/promtool; fi
done

mapfile -t still < <(missing)
if ((${#still[@]} > 0)); then
    skip "apt-get brought no ${still[*]} ($(grep -m1 '^[EW]:' "$cache/log" || echo 'no reason given'))"
fi
printf 'servers: mosquitto, influxdb, promtool and docker-compose unpacked into .servers\n'
