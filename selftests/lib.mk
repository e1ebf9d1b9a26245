# SPDX-License-Identifier: GPL-2.0
#
# Rules for one collection of tests, with the targets and variables of the kernel's selftests:
# TEST_PROGS are run, TEST_FILES go with them, TEST_INCLUDES are shared files elsewhere in the tree.
# The including Makefile is in a folder below the one of this file.

SELFTESTS := $(patsubst %/,%,$(dir $(realpath $(lastword $(MAKEFILE_LIST)))))
COLLECTION := $(patsubst $(SELFTESTS)/%,%,$(CURDIR))

all:

run_tests: all
	@$(SELFTESTS)/run_kselftest.sh -c $(COLLECTION)

emit_tests:
	@for test in $(TEST_PROGS); do echo "$(COLLECTION):$$test"; done

install: all
ifndef INSTALL_PATH
	$(error set INSTALL_PATH to the folder to copy the tests to)
endif
	@mkdir -p $(INSTALL_PATH)/$(COLLECTION)
	cp -p $(TEST_PROGS) $(TEST_FILES) $(wildcard settings config) $(INSTALL_PATH)/$(COLLECTION)/
	@cd $(SELFTESTS) && cp -p --parents \
		$(patsubst $(SELFTESTS)/%,%,$(realpath $(TEST_INCLUDES))) $(INSTALL_PATH)/

clean:
	rm -rf $(SELFTESTS)/lib/ksft/__pycache__

.PHONY: all run_tests emit_tests install clean
