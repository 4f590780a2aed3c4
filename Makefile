# What a developer runs. `make test` installs what it needs where it may.
SHELL       := /bin/bash -o pipefail
GO          ?= go
TOOLS       := $(CURDIR)/.tools
GOLANGCI    := $(TOOLS)/golangci-lint
GOLANGCI_AT := v2.15.0
# Drivers of Caddy's certificate authority that nothing here uses.
TAGS        := nobadger,nomysql,nopgx

.PHONY: build test bench bench-go bench-instructions lint fmt clean

build: ## the binary, ./gatefold
	$(GO) build -tags $(TAGS) -trimpath -o gatefold ./cmd/gatefold

# Every test, with the race detector. A skipped test proves nothing, so it fails
# the run.
# The race detector needs a C compiler, the README's transcript curl, the client
# that is generated from the API's description node and npm, promtool checks metrics
# and alerts, redis-server and nginx are started by the tests.
test:
	@.ci/need gcc=gcc,libc6-dev curl=curl,ca-certificates node=nodejs npm=npm
	@.ci/promtool $(TOOLS)
	@.ci/redis $(TOOLS)
	@.ci/nginx $(TOOLS)
	$(GO) vet -tags $(TAGS) ./...
	PATH="$(TOOLS):$$PATH" $(GO) test -tags $(TAGS) -race -count=1 -timeout 20m -v ./... 2>&1 | tee $(TOOLS)/test.log | grep -v -E '^(=== | *--- PASS)' || { grep -E -A30 -e '--- FAIL|^panic:|DATA RACE' $(TOOLS)/test.log; exit 1; }
	@if grep -q -e '--- SKIP' $(TOOLS)/test.log; then echo 'these tests were skipped:'; grep -e '--- SKIP' $(TOOLS)/test.log; exit 1; fi
	# The race detector allocates for itself: what counts allocations runs without.
	$(GO) test -tags $(TAGS) -count=1 -run Alloc ./keys ./policy ./caddymodule

# What the gate costs: real servers, driven in turns. It takes about fourteen minutes;
# BENCH="-quick" shows within one whether it runs, BENCH="-slices 200" takes longer
# and is surer. docs/performance.md tells how to read the table.
bench:
	@.ci/need wrk=wrk
	@.ci/nginx $(TOOLS)
	@.ci/redis $(TOOLS)
	$(GO) build -tags $(TAGS) -trimpath -o $(TOOLS)/gatefold ./cmd/gatefold
	$(GO) build -tags $(TAGS) -trimpath -o $(TOOLS)/gatefold-bench ./cmd/gatefold-bench
	PATH="$(TOOLS):$$PATH" $(TOOLS)/gatefold-bench -gatefold $(TOOLS)/gatefold -output $(TOOLS)/bench.md $(BENCH)

# What single steps cost, in the process; a minute or two.
bench-go:
	$(GO) test -tags $(TAGS) -run '^$$' -bench . ./keys ./policy ./policy/store ./caddymodule | grep -v '^{'

# How many instructions they take, which is the same on a machine that is busy; a
# minute or two.
bench-instructions:
	@.ci/need valgrind=valgrind
	@GO=$(GO) .ci/instructions $(TOOLS)/instructions $(TAGS)

lint: $(GOLANGCI)
	$(GOLANGCI) run ./...

fmt: $(GOLANGCI)
	$(GOLANGCI) fmt ./...

# Built from source by the toolchain that is there, so that it knows its language.
$(GOLANGCI):
	GOBIN=$(TOOLS) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_AT)

clean:
	rm -rf $(TOOLS) gatefold
