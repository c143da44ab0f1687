#!/bin/sh
# Runs the quickstart, sends it some requests, and shows who answered. CADDY names a
# caddy to run; without it, one is built.
set -eu
cd "$(dirname "$0")/../.."

# On a port that another program has, that program would answer. Caddy shares ports
# with other Caddys, so it would start all the same.
for port in 2019 8080 9001 9002 9003 9004; do
	status=0
	curl -so /dev/null --max-time 2 "http://localhost:$port/" || status=$?
	if [ "$status" -ne 7 ]; then # 7: the connection was refused
		echo "port $port is in use by another program; stop it, and try again" >&2
		exit 1
	fi
done

dir=$(mktemp -d)
pid=
trap 'test -z "$pid" || kill "$pid" 2>/dev/null || true; rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
caddy=${CADDY:-}
if [ -z "$caddy" ]; then
	caddy=$dir/caddy
	go build -o "$caddy" ./cmd/caddy
fi

# stopped ends the demo with the log of a caddy that has ended.
stopped() {
	echo "caddy is not running:" >&2
	cat "$dir/log" >&2
	exit 1
}

XDG_DATA_HOME="$dir" XDG_CONFIG_HOME="$dir" "$caddy" run --config examples/quickstart/Caddyfile 2>"$dir/log" &
pid=$!
n=0
until curl -so /dev/null http://localhost:8080/; do
	n=$((n + 1))
	if [ "$n" -gt 50 ] || ! kill -0 "$pid" 2>/dev/null; then
		stopped
	fi
	sleep 0.2
done
kill -0 "$pid" 2>/dev/null || stopped # who has answered is another
for _ in 1 2 3 4 5 6; do
	curl -fsS http://localhost:8080/
done
echo
curl -fsS http://localhost:2019/metrics | grep -E '^caddy_ballast_backend_(up|requests_total)'
kill -0 "$pid" 2>/dev/null || stopped
