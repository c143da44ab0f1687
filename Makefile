# Commands of the repository. `make help` lists them.

GO        ?= go
FUZZTIME  ?= 20s
# The race detector needs cgo.
RACE = $(if $(shell command -v cc || command -v gcc),-race)
# Tools have a module of their own, so that they are pinned and the plugin does not require them.
STATICCHECK = $(GO) tool -modfile=$(CURDIR)/tools/go.mod staticcheck
BENCHSTAT   = $(GO) tool -modfile=tools/go.mod benchstat

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

.PHONY: run
run: ## a load balancer on :8080 over three backends of its own
	$(GO) run ./cmd/caddy run --config examples/quickstart/Caddyfile

.PHONY: demo
demo: ## run the quickstart, send it some requests, show who answered, and stop it
	@./examples/quickstart/demo.sh

.PHONY: test
test: lint race options-test extend tools-test redis-test l4-test lab-test sim e2e ## everything that must pass: lint, tests with the race detector, extensions, Redis, TCP, the lab's, simulations, end to end

.PHONY: unit
unit: ## the tests of the plugin's module, without the race detector
	$(GO) test ./...

.PHONY: race
race: ## the tests of the plugin's module, with the race detector where there is a C compiler
	@$(if $(RACE),,echo "no C compiler: the tests run, but without the race detector")
	$(GO) test $(RACE) -timeout 30m ./...

# The plugin does not require the store on Redis and balance; a workspace has all three.
WITH_OTHERS = GOWORK=$(CURDIR)/tools/modules.work $(GO) test -tags modules -count=1

.PHONY: options-test
options-test: ## the options of all modules, also of those that are Go modules of their own, and their reference
	$(WITH_OTHERS) -run '^(TestCaddyfileOptions|TestReference|TestSchemaOfOtherModules)$$' .

# Each is a module of its own, as the extensions of others are.
.PHONY: extend
extend: ## build the example extensions, and run their conformance suites
	@for dir in examples/extend/*/; do (cd $$dir && $(GO) vet . && $(GO) test $(RACE) -timeout 5m .) || exit 1; done

.PHONY: redis-test
redis-test: redis-server ## the tests of the store on Redis, with servers and sentinels that fail (a minute)
	cd redisstore && $(GO) test $(RACE) -count=1 -timeout 10m .

.PHONY: l4-test
l4-test: redis-server ## the tests of balance, the handler of caddy-l4 (half a minute)
	cd l4 && $(GO) test $(RACE) -count=1 -timeout 5m ./...

# Those of test networks make namespaces as root, and use loopback addresses otherwise.
.PHONY: lab-test
lab-test: ## the tests of the lab's module
	cd lab && $(GO) test ./...

.PHONY: sim
sim: ## published results, and faults under load, simulated in virtual time
	$(GO) test -timeout 20m -run '^TestSimulation' ./selection ./pool ./shedder ./internal/fleet
	@$(MAKE) --no-print-directory crossings

SCHEDULES ?= 10000
SEED      ?= 20261128

# Two processes, since the schedules of one run one after the other. The first seed is the same for
# all, so that a run is repeatable but for what policies draw; SEED=0 takes a random one. With
# strictclock time passes between any two readings of the clock, as it does outside of tests.
.PHONY: crossings
crossings: ## random schedules of events for each pair of mechanisms, SCHEDULES of them from SEED on
	@dir=$$(mktemp -d) && $(GO) test -tags strictclock -c -o $$dir/crossing.test ./internal/crossing && cd internal/crossing && { \
		GOMAXPROCS=1 GOGC=400 $$dir/crossing.test -test.timeout 5h -test.run Schedules -test.v -seed $(SEED) -schedules $$(($(SCHEDULES) / 2)) > $$dir/first 2>&1 & first=$$!; \
		GOMAXPROCS=1 GOGC=400 $$dir/crossing.test -test.timeout 5h -test.run Schedules -test.v -seed $$(($(SEED) ? $(SEED) + 1 : 0)) -schedules $$(($(SCHEDULES) / 2)) > $$dir/second 2>&1; second=$$?; \
		wait $$first && [ $$second = 0 ]; status=$$?; grep -hv '^{' $$dir/first $$dir/second; rm -r $$dir; exit $$status; }

.PHONY: tails
tails: ## the tail latencies of all policies, simulated, as a table (a minute)
	@$(GO) test -count=1 -run '^TestTails$$' -tails

# The package's files without its installation, which might start a server on port 80.
.PHONY: nginx
nginx: ## fetch Debian's nginx for the end-to-end tests, as root and if there is none
	@command -v nginx > /dev/null || { \
		[ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null && dir=$$(mktemp -d) && cd $$dir && \
		{ apt-get -qq download nginx || { apt-get -qq update && apt-get -qq download nginx; }; } > /dev/null 2>&1 && \
		dpkg -x nginx*.deb . && install -m 755 usr/sbin/nginx /usr/local/bin/nginx && nginx -v > /dev/null 2>&1 || \
		{ rm -f /usr/local/bin/nginx; echo "no nginx: the tests with it are left out"; }; }

# Debian has TCP in a module of its own.
NGINX_STREAM = usr/lib/nginx/modules/ngx_stream_module.so
.PHONY: nginx-stream
nginx-stream: ## likewise its module for TCP, which the tests load from /usr/local/lib/ballast-nginx
	@[ -e /$(NGINX_STREAM) ] || [ -e /usr/local/lib/ballast-nginx/$(NGINX_STREAM) ] || { \
		[ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null && dir=$$(mktemp -d) && cd $$dir && \
		{ apt-get -qq download libnginx-mod-stream || { apt-get -qq update && apt-get -qq download libnginx-mod-stream; }; } > /dev/null 2>&1 && \
		mkdir -p /usr/local/lib/ballast-nginx && dpkg -x libnginx-mod-stream_*.deb /usr/local/lib/ballast-nginx || \
		echo "no libnginx-mod-stream: nginx does not check its configurations of TCP"; }

# Likewise, with the libraries that are missing, in a folder of its own: of a package, its program, and
# what is left out without it.
define unpack
	@command -v $(notdir $(2)) > /dev/null || { \
		[ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null && dir=/usr/local/lib/ballast-$(1) && mkdir -p $$dir && cd $$dir && \
		needs() { apt-get -qq -s --no-install-recommends install $(1) | sed -n 's/^Inst \([^ ]*\).*/\1/p'; } && \
		fetch() { apt-get -qq download $$(needs) && ls $(1)_*.deb; } && \
		{ fetch || { apt-get -qq update && fetch; }; } > /dev/null 2>&1 && \
		for package in *.deb; do dpkg -x $$package . && rm $$package || break; done && \
		libraries=$$(find $$dir -name '*.so*' -printf '%h\n' | sort -u | paste -sd:) && \
		printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s "$$@"\n' "$$libraries" $$dir$(2) > /usr/local/bin/$(notdir $(2)) && \
		chmod 755 /usr/local/bin/$(notdir $(2)) && $(notdir $(2)) -v > /dev/null 2>&1 || \
		{ rm -f /usr/local/bin/$(notdir $(2)); echo "no $(1): $(3)"; }; }
endef

.PHONY: haproxy
haproxy: ## fetch Debian's HAProxy for comparisons and the end-to-end tests, as root and if there is none
	$(call unpack,haproxy,/usr/sbin/haproxy,comparisons and tests with it are left out)

.PHONY: redis-server
redis-server: ## fetch Debian's Redis for the tests of redisstore, as root and if there is none
	$(call unpack,redis-server,/usr/bin/redis-server,the tests with it are left out)

.PHONY: redis-benchmark
redis-benchmark: ## fetch Debian's benchmark of Redis for the end-to-end tests, likewise
	$(call unpack,redis-tools,/usr/bin/redis-benchmark,the tests with redis-benchmark are left out)

# The package makes a cluster and starts a server, unless it is told not to.
.PHONY: postgresql
postgresql: ## fetch Debian's PostgreSQL for the end-to-end tests, as root and if there is none
	@command -v postgres > /dev/null || ls /usr/lib/postgresql/*/bin/postgres > /dev/null 2>&1 || { \
		[ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null && mkdir -p /etc/postgresql-common && \
		{ [ -e /etc/postgresql-common/createcluster.conf ] || echo "create_main_cluster = false" > /etc/postgresql-common/createcluster.conf; } && \
		{ apt-get -qq -y --no-install-recommends install postgresql || { apt-get -qq update && apt-get -qq -y --no-install-recommends install postgresql; }; } > /dev/null 2>&1 || \
		echo "no postgresql: the tests with it are left out"; }

# It compiles a Caddy for each platform, which takes some minutes each without a cache.
VERSION   ?= v0.0.0-dev
PLATFORMS ?= linux/amd64 linux/arm64 linux/arm/7 darwin/amd64 darwin/arm64 windows/amd64

.PHONY: release-dry
release-dry: ## all files of a release in dist/, from what is committed; VERSION=v1.2.3, PLATFORMS=linux/amd64
	$(GO) run -C tools ./release -root $(CURDIR) -out $(CURDIR)/dist -version $(VERSION) -platforms "$(PLATFORMS)"

.PHONY: tools-test
tools-test: ## the tests of the release tool
	cd tools && $(GO) vet ./... && $(GO) test ./...

# The package is not installed, since it starts a server; promtool needs no library.
.PHONY: promtool
promtool: ## fetch Debian's promtool for the tests of the alert rules, as root and if there is none
	@command -v promtool > /dev/null || { \
		[ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null && dir=$$(mktemp -d) && cd $$dir && \
		{ apt-get -qq download prometheus || { apt-get -qq update && apt-get -qq download prometheus; }; } > /dev/null 2>&1 && \
		dpkg -x prometheus_*.deb . && install -m 755 usr/bin/promtool /usr/local/bin/promtool && promtool --version > /dev/null 2>&1 || \
		{ rm -f /usr/local/bin/promtool; echo "no promtool: the alert rules are not tried"; }; rm -rf "$$dir"; }

.PHONY: workflows
workflows: ## lint the workflows of GitHub
	$(GO) tool -modfile=tools/go.mod actionlint

.PHONY: browser
browser: ## fetch Debian's chromium and playwright for the test of the dashboard, if they are not there
	@command -v chromium > /dev/null || { \
		[ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null && \
		{ apt-get -qq -y --no-install-recommends install chromium || { apt-get -qq update && apt-get -qq -y --no-install-recommends install chromium; }; } > /dev/null 2>&1 || \
		echo "no chromium: the dashboard is not tried in a browser"; }
	@[ -d e2e/browser/node_modules/playwright-core ] || { command -v npm > /dev/null && npm --prefix e2e/browser ci --no-audit --no-fund > /dev/null 2>&1; } || \
		echo "no playwright-core: the dashboard is not tried in a browser"

.PHONY: overload
overload: nginx haproxy ## 0.5 to 10 times capacity, stragglers, and a passing overload, beside plain Caddy, HAProxy and nginx (19 minutes)
	cd lab && $(GO) test -count=1 ./loadgen ./peers ./overload && $(GO) run ./overload

# Namespaces, rates and CPU shares need root and Debian's iproute2; without them the hosts are on loopback.
.PHONY: iproute2
iproute2: ## fetch Debian's iproute2 for test networks, as root and if there is none
	@command -v ip > /dev/null && command -v tc > /dev/null || [ -x /usr/sbin/tc ] || { \
		[ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null && \
		{ apt-get -qq -y --no-install-recommends install iproute2 || { apt-get -qq update && apt-get -qq -y --no-install-recommends install iproute2; }; } > /dev/null 2>&1 || \
		echo "no iproute2: the experiments run on loopback addresses"; }

LAB_REPORT ?= lab-report

.PHONY: lab
lab: iproute2 nginx haproxy ## experiments on a test network, also beside other balancers; report in lab-report/ (40 minutes; QUICK=1: 10)
	cd lab && $(GO) run ./experiments -out $(abspath $(LAB_REPORT)) $(if $(QUICK),-quick) $(if $(DOCS),-page ../docs/lab.md)

.PHONY: peers
peers: iproute2 nginx haproxy ## Ballast beside Caddy alone, HAProxy and nginx, with a report in lab-report/peers/ (20 minutes; QUICK=1: 5)
	cd lab && $(GO) run ./experiments -peers -out $(abspath $(LAB_REPORT))/peers $(if $(QUICK),-quick)

# The package starts nothing when it is installed.
.PHONY: wrk
wrk: ## fetch Debian's wrk to compare load generators, as root and if there is none
	@command -v wrk > /dev/null || { \
		[ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null && \
		{ apt-get -qq -y --no-install-recommends install wrk || { apt-get -qq update && apt-get -qq -y --no-install-recommends install wrk; }; } > /dev/null 2>&1 || \
		echo "no wrk: the load generator is not compared with it"; }

.PHONY: load
load: wrk ## 10,000 connections, at most 5,000 requests a second, beside plain Caddy and direct connections (6 minutes; QUICK=1: 3)
	cd lab && $(GO) run ./loadtest -out $(abspath $(LAB_REPORT))/load $(if $(QUICK),-quick)

.PHONY: tcp
tcp: haproxy redis-server redis-benchmark ## balance beside caddy-l4's proxy and HAProxy, and its idle connections (2 minutes); POSTGRES=host:port adds pgbench
	@dir=$$(mktemp -d) && $(GO) build -C l4 -o $$dir/caddy ./cmd/caddy && $(GO) run -C lab ./tcp -caddy $$dir/caddy $(if $(POSTGRES),-postgres $(POSTGRES)); status=$$?; rm -r $$dir; exit $$status

.PHONY: e2e
e2e: promtool nginx nginx-stream haproxy browser redis-server redis-benchmark postgresql ## end-to-end tests with real processes and sockets
	cd e2e && $(GO) test -count=1 -timeout 20m ./...

.PHONY: lint
lint: ## gofmt, go vet and staticcheck on all modules
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "not gofmt-ed: $$unformatted"; exit 1; fi
	$(GO) vet ./...
	cd e2e && $(GO) vet ./...
	cd lab && $(GO) vet ./...
	cd redisstore && $(GO) vet ./...
	cd l4 && $(GO) vet ./...
	$(STATICCHECK) ./...
	cd redisstore && $(STATICCHECK) ./...
	cd l4 && $(STATICCHECK) ./...

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME
	@for dir in $$(grep -lrE '^func Fuzz' --include='*_test.go' . | xargs -n1 dirname | sort -u); do \
		for target in $$(grep -hoE '^func Fuzz[A-Za-z0-9]+' $$dir/*_test.go | sed 's/func //'); do \
			echo "$$dir $$target"; (cd $$dir && $(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x .) || exit 1; \
		done; \
	done

# benchstat wants 6 samples for its intervals. What is measured once is printed as it is.
.PHONY: bench
bench: ## cost of a pick beside Caddy's policies, throughput beside round_robin, cost of sessions, looking, probing, admission (15 minutes)
	@$(GO) test ./selection -run '^$$' -bench Select -benchtime 20ms -count 6 > bench.out || { cat bench.out; exit 1; }
	@$(BENCHSTAT) -filter '.unit:(sec/op OR allocs/op)' -table .name -row '/policy /where' -col /backends bench.out
	@$(GO) test . -run '^$$' -bench Throughput -benchtime 54x -count 6 > bench.out || { cat bench.out; exit 1; }
	@$(BENCHSTAT) -filter '-.unit:ns/op' bench.out
	@cd e2e && $(GO) test . -run '^$$' -bench Throughput -benchtime 27x -count 6 -timeout 20m > ../bench.out || { cat ../bench.out; exit 1; }
	@$(BENCHSTAT) -filter '-.unit:ns/op' bench.out
	@$(GO) test ./sticky -run '^$$' -bench Session -benchtime 50ms -count 6 > bench.out || { cat bench.out; exit 1; }
	@$(BENCHSTAT) bench.out
	@$(GO) test . -run '^$$' -bench Observe -benchtime 20x
	@$(GO) test . -run '^$$' -bench Probing -benchtime 1x
	@$(GO) test ./shedder/internal/admission -run '^$$' -bench Admission -benchtime 200ms -count 6 > bench.out || { cat bench.out; exit 1; }
	@cd lab && $(GO) test -run '^$$' -bench Admission -benchtime 200ms -count 6 >> ../bench.out || { cat ../bench.out; exit 1; }
	@$(BENCHSTAT) -filter '.unit:(sec/op OR allocs/op)' -table .name bench.out

.PHONY: golden
golden: ## rewrite the golden files of the Caddyfile adapter
	$(GO) test -run TestAdapt . -update

.PHONY: reference
reference: ## rewrite docs/reference.md, its pages and the data of the JSON schema after a change of options or their comments
	$(WITH_OTHERS) -run '^TestReference$$' . -update

.PHONY: cover
cover: ## test coverage by function, and in total
	$(GO) test -coverpkg=./... -coverprofile=cover.out ./... && $(GO) tool cover -func=cover.out | tail -n 40
