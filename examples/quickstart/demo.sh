#!/bin/sh
# Runs the quickstart, sends it some requests, and shows who answered.
set -eu
cd "$(dirname "$0")/../.."
dir=$(mktemp -d)
trap 'kill "$pid" 2>/dev/null; rm -rf "$dir"' EXIT
pid=
go build -o "$dir/caddy" ./cmd/caddy
XDG_DATA_HOME="$dir" XDG_CONFIG_HOME="$dir" "$dir/caddy" run --config examples/quickstart/Caddyfile 2>"$dir/log" &
pid=$!
n=0
until curl -so /dev/null http://localhost:8080/; do
	n=$((n + 1))
	if [ "$n" -gt 50 ] || ! kill -0 "$pid" 2>/dev/null; then
		echo "caddy did not start:" && cat "$dir/log" && exit 1
	fi
	sleep 0.2
done
for _ in 1 2 3 4 5 6; do
	curl -s http://localhost:8080/
done
echo
curl -s http://localhost:2019/metrics | grep -E '^caddy_ballast_backend_(up|requests_total)'
