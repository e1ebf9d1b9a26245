# SPDX-License-Identifier: GPL-2.0
#
# The user's front end; Kbuild holds the module's rules.
#
# With KDIR the module is built by this machine's tools against that kernel
# tree.  Without it everything happens in the sandbox, which is made first.

SANDBOX := tools/sandbox run --
CARGO := $(SANDBOX) cargo
JOBS := $(shell nproc)

.DEFAULT_GOAL := all
.PHONY: all help modules modules_install rust-analyzer device sandbox run test check format shell bench \
	clean

all: modules device ## build the module and the NIC

help: ## list the targets
	@echo "make TARGET [VARIABLE=...]"
	@sed -n 's/^\([a-z_-]*\):[^#]*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | \
		while IFS='|' read -r name text; do printf '%-18s %s\n' "$$name" "$$text"; done
	@echo
	@echo "  KDIR=DIR            prepared kernel tree with Rust (default: the sandbox's)"
	@echo "  ESPNIC_NDIS=n       a module without /dev/espnic-ndis"
	@echo "  W=1 CLIPPY=1 V=1    as in the kernel's build"
	@echo "  DEBUG=1             with modules, test, shell: on a debug kernel (15 to 40 minutes to build)"
	@echo "  ESPNIC_CACHE=DIR    where sandbox and kernel tree are kept (default: ~/.cache/espnic)"
	@echo "  ESPNIC_MIRROR=URL   Debian mirror for the sandbox"

ifdef KDIR

# The compiler that the kernel was built with, by its name in the configuration.
ifeq ($(origin CC)$(LLVM),default)
kernel-cc := $(shell sed -n 's/^CONFIG_CC_VERSION_TEXT="\([^ "]*\).*/\1/p' $(KDIR)/.config 2>/dev/null)
ifneq ($(filter %clang,$(kernel-cc)),)
kbuild-cc := LLVM=1
else ifneq ($(shell command -v $(kernel-cc) 2>/dev/null),)
kbuild-cc := CC=$(kernel-cc)
endif
endif

# A tree without the distribution's key cannot sign.
ifeq ($(wildcard $(KDIR)/certs/signing_key.pem),)
modules_install: kbuild-sign := CONFIG_MODULE_SIG_ALL=
endif

modules modules_install:
	$(MAKE) -C $(KDIR) M=$(CURDIR) $(kbuild-cc) $(kbuild-sign) $@

rust-analyzer:
	$(MAKE) -C $(KDIR) M=$(CURDIR) $(kbuild-cc) $@
	tools/rust-project

clean:
	$(MAKE) -C $(KDIR) M=$(CURDIR) clean
	rm -rf build rust-project.json

else

# A fresh make with its own job server, because the sandbox has its own make.
kbuild = kdir=$$(tools/kernel path) && $(SANDBOX) env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL \
	make --no-print-directory -j$(JOBS) KDIR="$$kdir" $(MAKEOVERRIDES) $(1)

modules: ## build espnic.ko
ifdef DEBUG
	@kdir=$$(tools/kernel --debug path) && $(SANDBOX) sh tools/lib/debug-module.sh "$$kdir"
else
	@$(call kbuild,modules)
endif

modules_install: ## install espnic.ko (give INSTALL_MOD_PATH or KDIR)
ifndef INSTALL_MOD_PATH
	@echo "make modules_install needs INSTALL_MOD_PATH=DIR (below this checkout or /tmp)," >&2
	@echo "or KDIR=DIR to install for this machine's kernel" >&2
	@exit 2
else
	@$(call kbuild,modules_install)
endif

rust-analyzer: ## write rust-project.json for an editor
	@$(call kbuild,rust-analyzer)

clean: ## delete what was built here (tools/sandbox clean empties the cache)
	@! kdir=$$(tools/kernel cached) || $(call kbuild,clean)
	rm -rf build rust-project.json

endif

device: ## build the NIC, espnic-device, and the tool espnic-ndis
	@$(CARGO) build --locked --release -p espnic-device -p espnic-ndis

sandbox: ## make sandbox and kernel tree unless they are cached
	@tools/kernel ensure

run: modules device ## the demonstration, from nothing to PASS or FAIL
	@$(SANDBOX) tools/demo

test: modules device ## host tests, kselftests in QEMU, the demonstration's own test
	@$(SANDBOX) tools/run-tests $(if $(DEBUG),control debug)

check: ## format, lints, documentation, licence lines
	@tools/kernel ensure
	@$(SANDBOX) tools/check

format: ## put all Rust files into the kernel's format
	@$(SANDBOX) sh -c "git ls-files -z '*.rs' | xargs -0 rustfmt --edition 2021"

shell: modules device ## a VM with the NICs and the module, to play in
	@$(SANDBOX) tools/vm --ndis $(if $(DEBUG),--debug) $(VM)

bench: modules device ## what ESP offload costs, as ratios, and the targets
	@$(SANDBOX) tools/bench $(BENCH)
