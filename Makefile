# Klamm: every task of the repository. Only Go and make are needed, except for e2e and bench (see test/README.md).
SHELL := /bin/bash
export CGO_ENABLED = 0
GO ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
LINT := .cache/golangci-lint

.DEFAULT_GOAL := help
.PHONY: help build run test race lint fuzz sim bench bench-smoke e2e check clean

help: ## show this list
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## compile bin/klamm, one static binary
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/klamm ./cmd/klamm

run: build ## start a node on localhost:9092 with its data in ./data
	bin/klamm start

test: ## run every Go test (no network, no other program needed)
	$(GO) vet ./...
	$(GO) test -timeout 14m ./...

race: ## run every Go test under the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race -timeout 30m ./...

$(LINT): tools/go.mod
	$(GO) -C tools build -o ../$(LINT) github.com/golangci/golangci-lint/v2/cmd/golangci-lint

lint: $(LINT) ## check formatting and style
	$(LINT) run ./...

FUZZTIME ?= 30s
fuzz: ## fuzz every decoder for FUZZTIME each
	@set -e; for p in $$($(GO) list ./internal/...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$p 2>/dev/null | grep '^Fuzz' || true); do \
	    echo "== $$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$p; done; done

SEEDS ?= 10000
sim: ## run the seeded crash simulations with SEEDS seeds each
	KLAMM_SIM_SEEDS=$(SEEDS) $(GO) test -run 'Sim' -timeout 0 -v ./internal/...

e2e: build ## run real clients (Python, C, Java, Go) against a real process
	test/e2e/run

bench: build ## compare with Apache Kafka on this machine (full run)
	test/bench/run

bench-smoke: build ## one pair of each benchmark row but the longest, with half of its bytes
	test/bench/run --pairs 1 --again 0 --bytes 268435456 --warmup 1000000

check: test lint e2e ## what CI runs

clean: ## remove what the build made
	rm -rf bin/klamm .cache
