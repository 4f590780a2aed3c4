# What a developer runs. `make test` installs what it needs where it may.
SHELL       := /bin/bash -o pipefail
GO          ?= go
TOOLS       := $(CURDIR)/.tools
GOLANGCI    := $(TOOLS)/golangci-lint
GOLANGCI_AT := v2.15.0
# Drivers of Caddy's certificate authority that nothing here uses.
TAGS        := nobadger,nomysql,nopgx

.PHONY: build test lint fmt clean

build: ## the binary, ./gatefold
	$(GO) build -tags $(TAGS) -trimpath -o gatefold ./cmd/gatefold

# Every test, with the race detector. A skipped test proves nothing, so it fails
# the run.
# The race detector needs a C compiler, the README's transcript curl, promtool
# checks metrics and alerts, and redis-server is started by the tests.
test:
	@.ci/need gcc=gcc,libc6-dev curl=curl,ca-certificates
	@.ci/promtool $(TOOLS)
	@.ci/redis $(TOOLS)
	$(GO) vet -tags $(TAGS) ./...
	PATH="$(TOOLS):$$PATH" $(GO) test -tags $(TAGS) -race -count=1 -timeout 20m -v ./... 2>&1 | tee $(TOOLS)/test.log | grep -v -E '^(=== | *--- PASS)' || { grep -E -A30 -e '--- FAIL|^panic:|DATA RACE' $(TOOLS)/test.log; exit 1; }
	@if grep -q -e '--- SKIP' $(TOOLS)/test.log; then echo 'these tests were skipped:'; grep -e '--- SKIP' $(TOOLS)/test.log; exit 1; fi

lint: $(GOLANGCI)
	$(GOLANGCI) run ./...

fmt: $(GOLANGCI)
	$(GOLANGCI) fmt ./...

# Built from source by the toolchain that is there, so that it knows its language.
$(GOLANGCI):
	GOBIN=$(TOOLS) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_AT)

clean:
	rm -rf $(TOOLS) gatefold
