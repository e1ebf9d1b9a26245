# SPDX-License-Identifier: GPL-2.0
#
# The user's front end; Kbuild holds the module's rules.
#
# With KDIR the module is built by this machine's tools against that kernel
# tree.  Without it everything happens in the sandbox, which is made first, and
# KERNEL chooses the kernel (tools/kernel).

SANDBOX := tools/sandbox run --
CARGO := $(SANDBOX) cargo
FUZZ_SECONDS ?= 60
kernel = $(SANDBOX) tools/kernel $(if $(DEBUG),--debug)

.DEFAULT_GOAL := all
.PHONY: all help modules modules_install rust-analyzer device manuals install uninstall sandbox run \
	test fuzz next check format shell bench prune clean

# Where install puts things; DESTDIR comes in front of all of it.
prefix ?= /usr/local
bindir ?= $(prefix)/bin
includedir ?= $(prefix)/include
mandir ?= $(prefix)/share/man
BUILD := build
programs = espnic-device espnic-ndis
header = espnic-ndis.h
built = $(programs:%=$(BUILD)/cargo/release/%) $(programs:%=$(BUILD)/manuals/%.1)

all: modules device manuals ## build the module, the host programs and their manual pages

help: ## list the targets
	@echo "make TARGET [VARIABLE=...]"
	@sed -n 's/^\([a-z_-]*\):[^#]*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | \
		while IFS='|' read -r name text; do printf '%-18s %s\n' "$$name" "$$text"; done
	@echo
	@echo "  KERNEL=NAME         series (7.3), release or newest (default: the newest of the"
	@echo "                      archive whose series is in tools/tested-kernels)"
	@echo "  KDIR=DIR            prepared kernel tree with Rust, instead of the sandbox's kernel"
	@echo "  SERIES=all          with test: the other tested series of the archive, too"
	@echo "  TARGET=NAME         with fuzz: this target only (default: each one)"
	@echo "  FUZZ_SECONDS=N      with fuzz: how long a target runs (default: 60)"
	@echo "  ESPNIC_NDIS=n       a module without /dev/espnic-ndis"
	@echo "  prefix=DIR          with install, uninstall: where (default: /usr/local); DESTDIR=DIR in"
	@echo "                      front of it; bindir, mandir, includedir by themselves"
	@echo "  W=1 CLIPPY=1 V=1    as in the kernel's build"
	@echo "  DEBUG=1             with modules, test, shell: on a debug kernel (15 to 40 minutes to build)"
	@echo "  ESPNIC_CACHE=DIR    where sandbox and kernels are kept (default: ~/.cache/espnic)"
	@echo "  ESPNIC_MIRROR=URL   Debian mirror for the sandbox"

ifdef KDIR

# What is missing is told by tools/check-kdir, in a sentence; it also finds the tree that
# belongs to a folder of headers, and says which compiler to use.
kdir-facts := $(shell RUSTC='$(RUSTC)' BINDGEN='$(BINDGEN)' tools/check-kdir \
	$(if $(filter clean,$(MAKECMDGOALS)),--any) '$(KDIR)')
ifeq ($(kdir-facts),)
$(error KDIR=$(KDIR) cannot be used, see above)
endif
kdir := $(firstword $(kdir-facts))
ifeq ($(origin CC)$(LLVM),default)
kbuild-cc := $(wordlist 2,9,$(kdir-facts))
endif

# A tree without the distribution's key cannot sign.
ifeq ($(wildcard $(kdir)/certs/signing_key.pem),)
modules_install: kbuild-sign := CONFIG_MODULE_SIG_ALL=
endif

modules modules_install:
	$(MAKE) -C $(kdir) M=$(CURDIR) $(kbuild-cc) $(kbuild-sign) $@

rust-analyzer: modules
	$(MAKE) -C $(kdir) M=$(CURDIR) $(kbuild-cc) $@
	tools/rust-project

clean:
	$(MAKE) -C $(kdir) M=$(CURDIR) clean
	rm -rf build rust-project.json

else

modules: ## build espnic.ko, in build/module/RELEASE
	@$(kernel) module $(MAKEOVERRIDES)

modules_install: ## install espnic.ko (give INSTALL_MOD_PATH or KDIR)
	@$(kernel) install $(MAKEOVERRIDES)

rust-analyzer: ## write rust-project.json for an editor
	@$(kernel) analyze $(MAKEOVERRIDES)

clean: ## delete what was built here (make prune: what is old in the cache)
	rm -rf build rust-project.json

endif

device: ## build the NIC, espnic-device, and the tool espnic-ndis
	@$(CARGO) build --locked --release -p espnic-device -p espnic-ndis

manuals: ## build the manual pages of the host programs, in build/manuals
	@$(SANDBOX) sphinx-build -q -E -n -W -b man -d build/manuals/doctrees Documentation build/manuals

# Builds nothing: root would build it again, for itself.
install: ## install the host programs, their manual pages and the C header (prefix, DESTDIR)
	@for file in $(built); do \
		test -e "$$file" || { echo "$$file is missing: make device manuals" >&2; exit 1; }; \
	done
	install -d "$(DESTDIR)$(bindir)" "$(DESTDIR)$(includedir)" "$(DESTDIR)$(mandir)/man1"
	install -m 755 $(programs:%=$(BUILD)/cargo/release/%) "$(DESTDIR)$(bindir)"
	install -m 644 include/$(header) "$(DESTDIR)$(includedir)"
	install -m 644 $(programs:%=$(BUILD)/manuals/%.1) "$(DESTDIR)$(mandir)/man1"

uninstall: ## delete what install has put there, with the same prefix and DESTDIR
	rm -f $(programs:%="$(DESTDIR)$(bindir)/%") "$(DESTDIR)$(includedir)/$(header)" \
		$(programs:%="$(DESTDIR)$(mandir)/man1/%.1")

sandbox: ## make sandbox and kernel unless they are cached
	@$(kernel) ensure

run: modules device ## the demonstration, from nothing to PASS or FAIL
	@$(SANDBOX) tools/demo

test: modules device ## host tests, kselftests in QEMU, the demonstration's own test
	@$(SANDBOX) tools/run-tests $(if $(DEBUG),control debug) $(if $(SERIES),--series $(SERIES))

fuzz: ## search for input that crashes what reads bytes from outside
	@$(SANDBOX) tools/fuzz --seconds $(FUZZ_SECONDS) $(TARGET)

next: device ## try kernels that are newer than the tested ones
	@tools/next

check: ## format, lints, documentation, licence lines
	@$(SANDBOX) tools/check

format: ## put all Rust files into the kernel's format
	@$(SANDBOX) sh -c "git ls-files -z '*.rs' | xargs -0 rustfmt --edition 2021"

shell: modules device ## a VM with the NICs and the module, to play in
	@$(SANDBOX) tools/vm --ndis $(if $(DEBUG),--debug) $(VM)

bench: modules device ## what ESP offload costs, as ratios, and the targets
	@$(SANDBOX) tools/bench $(BENCH)

prune: ## delete from the cache all but the two of a kind that were used last
	@tools/sandbox prune
