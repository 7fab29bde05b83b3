# The two commands to know: `make demo` and `make test`.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
SWIFT ?= swift
BINARY := .build/release/swiftlet
# In a folder of its own: other flags would have the release build made anew each time.
# NVIDIA's compiler for the tests, unless a Python environment with it is active.
NVRTC := .build-test/nvidia
TESTING := -c release -Xswiftc -enable-testing --scratch-path .build-test

.PHONY: help build demo test lint format docs bench bench-gpu model

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

build: ## the release binary, .build/release/swiftlet
	$(SWIFT) build -c release --product swiftlet

model: ## fetches SmolLM2-135M-Instruct into the cache, once
	@Scripts/get-model.sh

demo: model build ## fine-tunes a real model before your eyes, in some minutes
	@Scripts/demo.sh $(BINARY)

test: model ## all tests, optimised: debug builds of the kernels are 50 times slower
	@Scripts/get-nvrtc.sh $(NVRTC)
	$(SWIFT) build --build-tests $(TESTING) --explicit-target-dependency-import-check error
	VIRTUAL_ENV="$${VIRTUAL_ENV:-$(CURDIR)/$(NVRTC)}" $(SWIFT) test $(TESTING) --skip-build

lint: ## formatting of Swift and C
	$(SWIFT) format lint --strict --recursive --parallel Package.swift Sources Tests Examples
	@Scripts/lint-c.sh

format: ## formats everything
	$(SWIFT) format --in-place --recursive --parallel Package.swift Sources Tests Examples
	@Scripts/lint-c.sh --fix

docs: ## the library's documentation, in .build/documentation
	$(SWIFT) package --allow-writing-to-directory .build/documentation generate-documentation \
	  --target Swiftlet --output-path .build/documentation --warnings-as-errors
	@echo 'To read it: python3 -m http.server -d .build/documentation, http://localhost:8000/documentation/swiftlet'

bench: model build ## tokens per second and memory beside transformers + peft; writes a JSON line each
	@Benchmarks/cpu.sh $(BINARY)

bench-gpu: build ## the same on an NVIDIA GPU beside Unsloth; TOKENIZER=folder with a tokenizer.json
	@Benchmarks/gpu.sh $(BINARY) $(TOKENIZER)
