# Apus: `make demo` shows it, `make test` checks it, `make install` puts it in place. `make help` lists the rest.

PREFIX  ?= /usr/local
DESTDIR ?=
SWIFT   ?= swift
JOBS    ?=

RELEASE   := .build/release
LIBRARY   := $(RELEASE)/libapus.so
CLI       := $(RELEASE)/apus-cli
EXPORTS   := build/apus.exports
# The library needs no Swift run time on its target and exports what apus.h declares. The same compiler flags for both
# products let them share every module.
FLAGS     := -c release -Xcc -fvisibility=hidden -Xcc -fno-asynchronous-unwind-tables -Xswiftc -static-stdlib -Xswiftc -use-ld=bfd $(if $(JOBS),--jobs $(JOBS))
# What keeps the library small: no unwind tables of Swift (apus.ld), packed relocations (they need glibc 2.36), and not the
# names of Unicode's characters, which the wrapped function brings along (Sources/CApusClosure/scalar_names.c).
LINK      := -Xlinker --version-script=$(CURDIR)/$(EXPORTS) -Xlinker -T$(CURDIR)/bindings/c/apus.ld \
	-Xlinker -z -Xlinker pack-relative-relocs -Xlinker --wrap=_swift_stdlib_getScalarName

# The undefined-behaviour sanitizer is the C compiler's; its run time is part of the other's.
SANITIZE  := --scratch-path .build-sanitize --sanitize=address -Xcc -fsanitize=undefined -Xcc -fno-sanitize-recover=undefined
FILTER     = $(if $(ONLY),--filter '$(ONLY)')
# Tests that ask onnxruntime find it in what `make deps-test` made.
PYTHON     = $(if $(wildcard .venv/bin/python),APUS_PYTHON=$(CURDIR)/.venv/bin/python)

.DEFAULT_GOAL := help
.PHONY: help deps deps-test library build demo test test-swift sanitize install uninstall models clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## Install the system packages that the build needs, where missing
	@.ci/install-deps.sh build

deps-test:
	@.ci/install-deps.sh test

$(EXPORTS): include/apus.h bindings/c/exported-names.py
	@mkdir -p build
	@python3 bindings/c/exported-names.py --version-script > $@.tmp && mv $@.tmp $@

library: deps $(EXPORTS) ## The release library alone
	$(SWIFT) build $(FLAGS) --product apus $(LINK)

build: library ## The release library and command line
	$(SWIFT) build $(FLAGS) --product apus-cli

demo: build ## Classify a picture of a digit with three networks
	@APUS=$(CURDIR)/$(CLI) Examples/demo.sh

test: deps-test build ## Everything: Swift, kernels, C, C++, Python, command line
	@python3 .ci/run-tests.py --library $(LIBRARY) --cli $(CLI) --python .venv/bin/python

test-swift: deps ## The Swift tests alone; ONLY=NAME for some of them
	$(SWIFT) build --build-tests
	$(PYTHON) $(SWIFT) test --skip-build $(FILTER)

sanitize: deps ## The Swift tests with the address and undefined-behaviour sanitizers, in .build-sanitize; ONLY=NAME for some
	$(SWIFT) build --build-tests $(SANITIZE)
	LSAN_OPTIONS=suppressions=$(CURDIR)/Tests/known-leaks.txt $(PYTHON) $(SWIFT) test --skip-build $(SANITIZE) $(FILTER)

install: build ## Library, header, pkg-config file and command line under PREFIX (and DESTDIR)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/pkgconfig $(DESTDIR)$(PREFIX)/include
	install -m 755 -s $(CLI) $(DESTDIR)$(PREFIX)/bin/apus
	install -m 755 $(LIBRARY) $(DESTDIR)$(PREFIX)/lib/libapus.so
	strip --strip-unneeded $(DESTDIR)$(PREFIX)/lib/libapus.so
	install -m 644 include/apus.h $(DESTDIR)$(PREFIX)/include/apus.h
	sed -e 's|@PREFIX@|$(PREFIX)|' -e "s|@VERSION@|$$(python3 bindings/c/exported-names.py --version)|" bindings/c/apus.pc.in \
		> $(DESTDIR)$(PREFIX)/lib/pkgconfig/apus.pc

uninstall: ## Remove what install put there
	rm -f $(DESTDIR)$(PREFIX)/bin/apus $(DESTDIR)$(PREFIX)/lib/libapus.so $(DESTDIR)$(PREFIX)/include/apus.h \
		$(DESTDIR)$(PREFIX)/lib/pkgconfig/apus.pc

models: ## Train the example networks again (needs Examples/train/requirements.txt)
	python3 Examples/train/train_digits.py

clean: ## Remove everything that was built
	rm -rf .build .build-sanitize build .venv
