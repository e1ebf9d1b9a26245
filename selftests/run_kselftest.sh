#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Runs tests and prints KTAP: one result per test, the output of the test indented as its
# subtests. Exit status: 0 all that ran passed, 1 a test failed, 2 wrong usage, 4 all were skipped.

HERE=$(cd "$(dirname "$0")" && pwd)
DEFAULT_TIMEOUT=45
GRACE=15

usage() {
	cat <<EOF
Usage: $0 [options]
  -c, --collection NAME      run all tests of this collection (repeatable)
  -t, --test [COLLECTION:]TEST
                             run this test (repeatable)
  -l, --list                 list the tests and exit
  -n, --dry-run              say what would run
  -o, --override-timeout N   seconds per test instead of the collection's setting
  -h, --help                 this text
EOF
}

wrong() {
	echo "$0: $*; --help shows the options" >&2
	exit 2
}

# All tests as COLLECTION:TEST, from the list of an installation or from the Makefiles.
list_tests() {
	if [ -f "$HERE/kselftest-list.txt" ]; then
		cat "$HERE/kselftest-list.txt"
	else
		find "$HERE" -mindepth 2 -name settings | sort | while read -r settings; do
			_folder=$(dirname "$settings")
			find "$_folder" -maxdepth 1 -type f -perm -u+x \( -name '*.sh' -o -name '*.py' \) |
				sort | sed "s,.*/,${_folder#"$HERE"/}:,"
		done
	fi
}

needs_value() {
	[ "$2" -ge 2 ] || wrong "$1 needs a value"
}

parse() {
	while [ $# -gt 0 ]; do
		case $1 in
		-c | --collection) needs_value "$1" $#; collections="$collections $2"; shift ;;
		-t | --test) needs_value "$1" $#; tests="$tests $2"; shift ;;
		-l | --list) list_tests; exit 0 ;;
		-n | --dry-run) dry=1 ;;
		-o | --override-timeout) needs_value "$1" $#; number "$1" "$2"; override=$2; shift ;;
		-h | --help) usage; exit 0 ;;
		*) wrong "unknown option $1" ;;
		esac
		shift
	done
}

number() {
	case $2 in '' | *[!0-9]*) wrong "$1 needs a number, not '$2'" ;; esac
}

# The chosen tests, each as COLLECTION:TEST; an unknown name is an error.
select_tests() {
	_all=$(list_tests)
	if [ -z "$collections$tests" ]; then
		echo "$_all"
		return
	fi
	for _collection in $collections; do
		echo "$_all" | grep "^$_collection:" || wrong "no such collection: $_collection"
	done
	for _test in $tests; do
		case $_test in
		*:*) echo "$_all" | grep -Fx "$_test" || wrong "no such test: $_test (-l lists them)" ;;
		*) echo "$_all" | awk -F: -v t="$_test" '$2 == t || $2 ~ "^" t "\\.(sh|py)$" {
			print; found = 1 } END { exit !found }' || wrong "no such test: $_test (-l lists them)" ;;
		esac
	done
}

timeout_of() {
	if [ -n "$override" ]; then
		echo "$override"
	else
		_setting=$(sed -n 's/^timeout=//p' "$HERE/$1/settings" 2>/dev/null)
		echo $((${_setting:-$DEFAULT_TIMEOUT} * ${KSFT_TIME_SCALE:-1}))
	fi
}

# Run one test; its output is shown as it comes, indented.
run_test() {
	_collection=${1%%:*} _name=${1#*:} _grace=$((GRACE * ${KSFT_TIME_SCALE:-1}))
	_seconds=$(timeout_of "$_collection")
	echo "# selftests: $_collection: $_name"
	: >"$log"
	{
		status=0
		(cd "$HERE/$_collection" && exec timeout -k "$_grace" "$_seconds" "./$_name") 2>&1 || status=$?
		echo $status >"$log.status"
	} | tee "$log" | sed -u 's/^/  /'
	status=$(cat "$log.status")
	cases_passed=$((cases_passed + $(grep -c '^ok [0-9]* [^#]*$' "$log")))
	cases_failed=$((cases_failed + $(grep -c '^not ok ' "$log")))
	verdict "$1" "$status"
}

verdict() {
	_reason=
	case $2 in
	0) ;;
	4) _reason=$(sed -n 's/^1\.\.0 # SKIP/ # SKIP/p' "$log" | head -n 1)
		_reason=${_reason:- # SKIP every case was skipped} ;;
	124 | 137) _reason=" # TIMEOUT $_seconds seconds" ;;
	*) _reason=" # exit=$2" ;;
	esac
	if [ "$2" = 0 ]; then
		echo "ok $count selftests: $1"
		passed=$((passed + 1))
	elif [ "$2" = 4 ]; then
		echo "ok $count selftests: $1$_reason"
		skipped=$((skipped + 1))
	else
		echo "not ok $count selftests: $1$_reason"
		failed=$((failed + 1))
	fi
}

main() {
	chosen=$(select_tests) || exit 2
	if [ -n "$dry" ]; then
		echo "$chosen"
		exit 0
	fi
	log=$(mktemp)
	trap 'rm -f "$log" "$log.status"' EXIT
	trap 'exit 143' TERM INT
	echo "TAP version 13"
	echo "1..$(echo "$chosen" | wc -l)"
	for _test in $chosen; do
		count=$((count + 1))
		run_test "$_test"
	done
	summary
}

summary() {
	echo "# Totals: pass:$passed fail:$failed xfail:0 xpass:0 skip:$skipped error:0"
	echo "# $cases_passed cases passed, $cases_failed cases failed"
	echo "$passed passed, $failed failed, $skipped skipped"
	[ "$failed" -eq 0 ] || exit 1
	[ "$passed" -gt 0 ] || exit 4
	exit 0
}

collections='' tests='' dry='' override=''
count=0 passed=0 failed=0 skipped=0 cases_passed=0 cases_failed=0
parse "$@"
main
