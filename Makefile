# What a developer runs; `make help` lists it. Tools that are missing are installed
# where that is permitted.
SHELL       := /bin/bash -o pipefail
GO          ?= go
TOOLS       := $(CURDIR)/.tools
GOLANGCI    := $(TOOLS)/golangci-lint
GOLANGCI_AT := v2.15.0
# Drivers of Caddy's certificate authority that nothing here uses.
TAGS        := nobadger,nomysql,nopgx
# PKG and RUN limit `make test` to packages and to the tests that RUN matches.
PKG         := ./...
RUN         :=

# Packages whose tests need more than Go, a C compiler and Redis.
binary_tests := $(filter ./... ./cmd/%,$(PKG))
# Packages whose tests start Chromium.
page_tests   := $(filter ./... ./cmd/% ./policy/paywall/pagetest,$(PKG))
binary_needs := curl=curl,ca-certificates node=nodejs npm=npm mmdebstrap=mmdebstrap systemd-analyze=systemd rpm=rpm zip=zip
# Packages whose tests count allocations or memory: all, or those of PKG.
alloc_all    := ./keys ./policy ./policy/memory ./caddymodule ./caddymodule/pagecache
alloc_tests  := $(if $(RUN),,$(if $(filter ./...,$(PKG)),$(alloc_all),$(filter $(alloc_all),$(PKG))))

.PHONY: help build release test test-quick fuzz model soak chaos bench bench-go bench-instructions lint words fmt vuln clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

# The first build compiles everything that Caddy consists of; -v prints each package.
build: ## build the binary, ./gatefold
	@echo 'building ./gatefold: the first time Go fetches and compiles some 1,200 packages, which takes minutes, and prints each; later builds take seconds'
	$(GO) build -v -tags $(TAGS) -trimpath -buildvcs=auto -o gatefold ./cmd/gatefold
	@./gatefold version

# Static binaries, packages, SBOMs and checksums. VERSION is the tag's unless it is given.
VERSION     :=
TARGETS     := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64
DIST        := dist
NFPM_AT     := v2.44.1
CYCLONE_AT  := v1.9.0
release: $(TOOLS)/nfpm $(TOOLS)/cyclonedx-gomod ## build archives and packages into ./dist: TARGETS=linux/amd64 VERSION=v0.1.0
	@.ci/need zip=zip
	GO='$(GO)' TAGS=$(TAGS) VERSION=$(VERSION) packaging/release $(TOOLS) $(DIST) $(TARGETS)

$(TOOLS)/nfpm:
	GOBIN=$(TOOLS) $(GO) install github.com/goreleaser/nfpm/v2/cmd/nfpm@$(NFPM_AT)

$(TOOLS)/cyclonedx-gomod:
	GOBIN=$(TOOLS) $(GO) install github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@$(CYCLONE_AT)

# The race detector needs a C compiler, the README's transcript curl, the client
# that is generated from the API's description node and npm; promtool checks metrics
# and alerts; tests start redis-server, nginx, other origins and Chromium. A skipped test fails
# the run. The race detector allocates, so tests that count allocations also run
# without it.
test: $(if $(binary_tests),$(TOOLS)/nfpm $(TOOLS)/cyclonedx-gomod) ## run the tests with the race detector: all, or PKG=./keys RUN=TestX
	@.ci/need gcc=gcc,libc6-dev $(if $(binary_tests),$(binary_needs))
	@.ci/redis $(TOOLS)
ifneq ($(binary_tests),)
	@.ci/promtool $(TOOLS)
	@.ci/nginx $(TOOLS)
	@.ci/origins $(TOOLS)
	@.ci/cachetests $(TOOLS)
endif
ifneq ($(page_tests),)
	@.ci/need npm=npm
	@.ci/chromium $(TOOLS)
	@.ci/axe $(TOOLS)
endif
	$(GO) vet -tags $(TAGS) $(PKG)
	PATH="$(TOOLS):$$PATH" $(GO) test -tags $(TAGS) -race -count=1 -timeout 40m -v $(if $(RUN),-run '$(RUN)') $(PKG) 2>&1 | tee $(TOOLS)/test.log | grep -v -E '^(=== | *--- PASS)' || { grep -E -A30 -e '--- FAIL|^panic:|DATA RACE' $(TOOLS)/test.log; exit 1; }
	@if grep -q -e '--- SKIP' $(TOOLS)/test.log; then echo 'these tests were skipped:'; grep -e '--- SKIP' $(TOOLS)/test.log; exit 1; fi
ifneq ($(alloc_tests),)
	$(GO) test -tags $(TAGS) -count=1 -run 'Alloc|ManyPages' $(alloc_tests)
endif
ifneq ($(and $(filter ./...,$(PKG)),$(if $(RUN),,all)),)
	GO='$(GO)' TAGS=$(TAGS) .ci/fuzz 2000x $(fuzz_quick)
endif

# No race detector, and nothing but Go: what needs Redis, curl, node, nginx or
# promtool is left out, and so are counts of allocations, which need a quiet machine.
# Results of unchanged packages come from Go's cache.
quick_skip := Redis|Allocat
quick_tree := ^TestTree
test-quick: ## run what needs only Go, in under a minute once it is compiled
	@mkdir -p $(TOOLS)
	$(GO) test -tags $(TAGS) -short -skip '$(quick_skip)' $$($(GO) list -tags $(TAGS) ./... | grep -v -e /cmd/gatefold$$ -e /upstreamtest -e /packagetest -e /pagetest -e /redisengine) | grep -v 'no test files'
	$(GO) test -tags $(TAGS) -short -run '$(quick_tree)' ./cmd/gatefold
	@echo 'left out: tests of ./cmd/gatefold other than $(quick_tree), ./cmd/gatefold/upstreamtest, ./cmd/gatefold/packagetest, ./policy/paywall/pagetest, ./policy/store/redisengine, tests that match $(quick_skip), the race detector (make test runs them)'

# The seeds of all targets are tests as well. `make test` also fuzzes the packages that
# are quick to build for it, with 2,000 inputs a target.
FUZZTIME    := 60s
fuzz_quick  := ./keys ./policy ./caddymodule/headers
fuzz: ## run every fuzz target for a minute: FUZZTIME=10m PKG=./keys
	GO='$(GO)' TAGS=$(TAGS) .ci/fuzz $(FUZZTIME) $(PKG)

# `make test` runs the same with fewer and always the same histories.
MODEL       := 2000
HISTORIES   := 10m
KILLS       := 500
model: ## compare random histories with models: 40 minutes; MODEL=500 HISTORIES=2m KILLS=50
	@.ci/redis $(TOOLS)
	PATH="$(TOOLS):$$PATH" $(GO) test -tags $(TAGS) -count=1 -timeout 0 -v -run '^TestModel' ./caddymodule -model.checks $(MODEL) -rapid.seed $$(date +%s)
	PATH="$(TOOLS):$$PATH" $(GO) test -tags $(TAGS) -count=1 -timeout 0 -v -run 'Linearizable|ReadersKeepTrying' ./cmd/gatefold -linearizable.for $(HISTORIES) -linkcrash.kills $(KILLS)

# `make test` runs the same for a minute.
SOAK        := 30m
soak: ## run mixed traffic and changes against a model: half an hour; SOAK=5m
	@.ci/redis $(TOOLS)
	PATH="$(TOOLS):$$PATH" $(GO) test -tags $(TAGS) -count=1 -timeout 0 -v -run 'TestSoak$$' ./cmd/gatefold -soak $(SOAK)

# `make test` runs the same for a minute and a half: each fault once, and some again.
CHAOS       := 10m
FORM        :=
SEED        := 0
chaos: ## break gates, Redis, disks and clocks under clients with a ledger: ten minutes; CHAOS=2m FORM=sentinel SEED=1 KILLS=200
	@.ci/need gcc=gcc,libc6-dev
	@.ci/redis $(TOOLS)
	PATH="$(TOOLS):$$PATH" $(GO) test -tags $(TAGS) -count=1 -timeout 0 -parallel 4 -v -run 'TestChaos$$' ./cmd/gatefold -chaos.for $(CHAOS) -chaos.form '$(FORM)' -chaos.seed $(SEED) $(if $(filter command,$(origin KILLS)),-chaos.kills $(KILLS))

bench: ## measure the gate beside other servers: 20 minutes; BENCH="-quick" one
	@.ci/need wrk=wrk
	@.ci/nginx $(TOOLS)
	@.ci/redis $(TOOLS)
	$(GO) build -tags $(TAGS) -trimpath -o $(TOOLS)/gatefold ./cmd/gatefold
	$(GO) build -tags $(TAGS) -trimpath -o $(TOOLS)/gatefold-bench ./cmd/gatefold-bench
	PATH="$(TOOLS):$$PATH" $(TOOLS)/gatefold-bench -gatefold $(TOOLS)/gatefold -output $(TOOLS)/bench.md $(BENCH)

bench-go: ## run the Go benchmarks: a minute or two
	$(GO) test -tags $(TAGS) -run '^$$' -bench . ./keys ./policy/... ./caddymodule | grep -v '^{'

bench-instructions: ## count instructions of single steps in valgrind: two minutes
	@.ci/need valgrind=valgrind
	@GO=$(GO) .ci/instructions $(TOOLS)/instructions $(TAGS)

lint: words $(GOLANGCI) ## run the linters and the check of words
	$(GOLANGCI) run ./...

words: ## refuse retired words in code and documents
	@.ci/words

fmt: $(GOLANGCI) ## format the Go files
	$(GOLANGCI) fmt ./...

# Built from source, so that it supports the language version of the toolchain.
$(GOLANGCI):
	GOBIN=$(TOOLS) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_AT)

GOVULNCHECK_AT := v1.1.4
# Needs the Go vulnerability database, so it is no part of CI.
vuln: ## look for known vulnerabilities in what the binary calls
	@test -x $(TOOLS)/govulncheck || GOBIN=$(TOOLS) $(GO) install golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK_AT) || { echo 'govulncheck could not be built: is the module proxy reachable?'; exit 1; }
	@$(TOOLS)/govulncheck -tags $(TAGS) ./... || { echo 'govulncheck failed: it found the above, or could not reach its vulnerability database'; exit 1; }

clean: ## remove what was built and unpacked
	rm -rf $(TOOLS) $(DIST) gatefold
