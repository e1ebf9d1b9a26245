# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# KTAP output, checks and cleanup for shell tests. A test file sources this, defines one function
# per case, and calls ktap_run with their names. A case fails when it calls fail, or returns
# non-zero; it is skipped when it calls skip. Each case runs in a subshell.

KTAP_PASS=0
KTAP_FAIL=1
KTAP_SKIP=4

# Print a diagnostic line.
diag() {
	printf '# %s\n' "$*"
}

# End the current case as failed.
fail() {
	diag "$*"
	exit "$KTAP_FAIL"
}

# End the current case as skipped, with the reason.
skip() {
	printf '%s\n' "$*" >"$KTAP_TMP/skip"
	exit "$KTAP_SKIP"
}

# Skip the whole file, with the reason; only before ktap_run.
skip_all() {
	printf 'TAP version 13\n1..0 # SKIP %s\n' "$*"
	exit "$KTAP_SKIP"
}

# Skip the whole file unless these programs are installed.
need_programs() {
	for _program in "$@"; do
		command -v "$_program" >/dev/null || skip_all "missing program: $_program"
	done
}

# For a test file without options: --help prints what it is ($1), anything else is wrong. Pass "$@".
no_options() {
	_about=$1
	shift
	case ${1:-} in
	'') return ;;
	-h | --help) printf 'Usage: %s\n\n%s\n' "$0" "$_about"; exit "$KTAP_PASS" ;;
	esac
	echo "$0: unknown option $1; --help tells what this is" >&2
	exit 2
}

# Run a command until it succeeds, at most $1 seconds (of an ordinary machine, KSFT_TIME_SCALE
# stretches them); returns its last status.
retry() {
	_tries=$(($1 * 10 * ${KSFT_TIME_SCALE:-1}))
	shift
	until "$@" >/dev/null 2>&1; do
		_tries=$((_tries - 1))
		[ "$_tries" -gt 0 ] || return 1
		sleep 0.1
	done
}

# Print a result. With KSFT_KMSG it is also left in the kernel's log, so that a harness can tell
# which of the kernel's messages came before it.
_result() {
	[ -z "${KSFT_KMSG:-}" ] || echo "<5>$KSFT_KMSG$1" >/dev/kmsg
	echo "$1${2:-}"
}

_ktap_case() {
	rm -f "$KTAP_TMP/skip"
	_status=0
	("$2") || _status=$?
	case $_status in
	"$KTAP_PASS") _result "ok $1 $2"; _passed=$((_passed + 1)) ;;
	"$KTAP_SKIP") _result "ok $1 $2" " # SKIP $(cat "$KTAP_TMP/skip")"; _skipped=$((_skipped + 1)) ;;
	*) _result "not ok $1 $2"; _failed=$((_failed + 1)) ;;
	esac
}

# Run the named cases and exit with the status that kselftest wants. A function named cleanup, if
# the test file has one, runs at the end in any case.
ktap_run() {
	KTAP_TMP=$(mktemp -d)
	trap 'rm -rf "$KTAP_TMP"; if command -v cleanup >/dev/null; then cleanup; fi' EXIT
	trap 'exit 143' TERM INT
	echo "TAP version 13"
	echo "1..$#"
	_number=0 _passed=0 _failed=0 _skipped=0
	for _case in "$@"; do
		_number=$((_number + 1))
		_ktap_case "$_number" "$_case"
	done
	echo "# Totals: pass:$_passed fail:$_failed xfail:0 xpass:0 skip:$_skipped error:0"
	[ "$_failed" -eq 0 ] || exit "$KTAP_FAIL"
	[ "$_passed" -gt 0 ] || exit "$KTAP_SKIP"
	exit "$KTAP_PASS"
}
