#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 Telepage developers
#
# Install what is missing, build, run every test:
#	devtools/test.sh [--fast] [--suite NAME]...
#   --fast        no sanitizers, no fuzzing, no end-to-end suites
#   --suite NAME  only this meson suite or dts suite (TestSuite_NAME.py)
# The last line is "N passed, N failed, N skipped"; the status is non-zero when
# a test or a build failed. Leaves only the build* folders behind.
set -uo pipefail
. "$(dirname "$0")/lib.sh"

fast_only=
suites=()
passed=0
failed=0
skipped=0

usage()
{
	sed -n '5,8s/^#//p' "$0"
}

options_parse()
{
	while [ $# -gt 0 ]; do
		case $1 in
		--fast) fast_only=yes ;;
		--suite)
			[ $# -ge 2 ] || die "--suite needs a name"
			suites+=("$2")
			shift
			;;
		-h | --help)
			usage
			exit 0
			;;
		*) die "unknown option $1, see --help" ;;
		esac
		shift
	done
}

on_exit()
{
	trap - EXIT INT TERM HUP
	stop_child
	[ -z "${scratch:-}" ] || rm -rf "$scratch"
	give_to_user "$TP_ROOT"/build*
}

on_signal()
{
	say "interrupted"
	on_exit
	exit "$1"
}

count()
{
	passed=$((passed + $1))
	failed=$((failed + $2))
	skipped=$((skipped + $3))
}

# Results of the last `meson test` in a build directory: "passed failed skipped".
meson_results()
{
	python3 - "$1/meson-logs/testlog.json" <<-'PYTHON'
	import json, sys
	count = {"passed": 0, "failed": 0, "skipped": 0}
	with open(sys.argv[1], encoding="utf-8") as log:
	    for line in log:
	        result = json.loads(line)["result"]
	        kind = {"OK": "passed", "EXPECTEDFAIL": "passed", "SKIP": "skipped"}
	        count[kind.get(result, "failed")] += 1
	print(count["passed"], count["failed"], count["skipped"])
	PYTHON
}

# suite_targets DIR SUITE...: the programs that the tests of meson suites need.
suite_targets()
{
	python3 - "$@" <<-'PYTHON'
	import json, os, subprocess, sys
	build, suites = sys.argv[1], {f"telepage:{name}" for name in sys.argv[2:]}
	def introspect(what):
	    return json.loads(subprocess.check_output(["meson", "introspect", what, build]))
	files = {target["id"]: target["filename"] for target in introspect("--targets")}
	print("\n".join(sorted({os.path.relpath(file, build) for test in introspect("--tests")
	                        if suites & set(test["suite"])
	                        for needed in test["depends"] for file in files[needed]})))
	PYTHON
}

# ninja_build DIR [SUITE...]: everything; for suites what their tests need; of a fuzz
# build the fuzz targets.
ninja_build()
{
	local dir=$1 targets=()
	shift

	run_child ninja -C "$dir" --quiet build.ninja || return
	if [ $# -gt 0 ]; then
		mapfile -t targets < <(suite_targets "$dir" "$@")
		[ "${#targets[@]}" -gt 0 ] || return
	elif [ "$dir" = "$TP_ROOT/build-fuzz" ]; then
		mapfile -t targets < <(ninja -C "$dir" -t targets all |
			sed -n 's,^\(tests/fuzz_[^./]*\):.*_LINKER.*,\1,p')
		[ "${#targets[@]}" -gt 0 ] || return 0
	fi
	run_child ninja -C "$dir" --quiet "${targets[@]}"
}

# build_tree DIR [meson option...] [--for SUITE...]; a build that fails is one failed test.
build_tree()
{
	local dir=$1 options=()
	shift

	while [ $# -gt 0 ] && [ "$1" != --for ]; do
		options+=("$1")
		shift
	done
	say "build $(basename "$dir")"
	if configure_build "$dir" "${options[@]}" && ninja_build "$dir" "${@:2}"; then
		return 0
	fi
	say "build $(basename "$dir") FAILED"
	count 0 1 0
	return 1
}

# test_tree DIR [meson test argument...]
test_tree()
{
	local dir=$1 results failed_here status=0
	shift

	say "test $(basename "$dir")${*:+: $*}"
	rm -f "$dir/meson-logs/testlog.json"
	run_child python3 "$TP_ROOT/dts/lab.py" run --hugepages 256 -- \
		meson test -C "$dir" --no-rebuild --print-errorlogs "$@" || status=$?
	if results=$(meson_results "$dir" 2>/dev/null); then
		count $results
		read -r _ failed_here _ <<<"$results"
		# A runner that ended badly without a failed test is a failure too.
		[ "$status" -eq 0 ] || [ "$failed_here" -gt 0 ] || count 0 1 0
	elif meson test -C "$dir" --no-rebuild --list "$@" 2>/dev/null | grep -q .; then
		say "no results from $(basename "$dir")"
		count 0 1 0
	fi
}

# fuzz_target PROGRAM SECONDS: from the kept corpus on, if there is one. What it says
# is shown when it fails; one line in $scratch/fuzz says how it ended.
fuzz_target()
{
	local name corpus log
	name=$(basename "$1")
	corpus=$TP_ROOT/tests/corpus/$name
	log=$scratch/$name.log

	echo "fuzz $name, $2 s"
	mkdir -p "$scratch/$name"
	[ -d "$corpus" ] || corpus=$scratch/$name
	if "$1" -max_total_time="$2" -print_final_stats=0 -verbosity=0 -len_control=0 \
		-max_len=1600 -artifact_prefix="$(dirname "$1")/" "$scratch/$name" "$corpus" \
		>"$log" 2>&1; then
		echo passed >>"$scratch/fuzz"
	else
		echo failed >>"$scratch/fuzz"
		echo "fuzz $name FAILED"
		cat "$log"
	fi
}

# Every fuzz target, one a core: a smoke test, not a campaign. A minute for what the
# wire brings, for what any program on the machine can write into its node, and for
# pools that somebody else wrote.
fuzz_run()
{
	local dir=$TP_ROOT/build-fuzz target seconds slow=() fast=()

	if ! command -v clang >/dev/null; then
		say "fuzz: no clang, skipped"
		count 0 0 1
		return
	fi
	CC=clang build_tree "$dir" -Dfuzz=true -Dwerror=false -Db_lundef=false \
		-Db_sanitize=address,undefined || return
	for target in "$dir"/tests/fuzz_*; do
		[ -f "$target" ] && [ -x "$target" ] || continue
		case $(basename "$target") in
		fuzz_client | fuzz_frame | fuzz_worker | fuzz_codec | fuzz_pool)
			slow+=("$target" 60)
			;;
		# What those decode, at whole nodes: some hundred a second.
		fuzz_packet | fuzz_message) slow+=("$target" 20) ;;
		*) fast+=("$target" 5) ;;
		esac
	done
	export -f fuzz_target
	export scratch TP_ROOT
	: >"$scratch/fuzz"
	printf '%s\n' "${slow[@]}" "${fast[@]}" >"$scratch/fuzz.targets"
	say "fuzz $(((${#slow[@]} + ${#fast[@]}) / 2)) targets"
	run_child xargs -a "$scratch/fuzz.targets" -P "$(nproc)" -n 2 \
		bash -c 'fuzz_target "$@"' fuzz
	count "$(grep -c passed "$scratch/fuzz")" "$(grep -c failed "$scratch/fuzz")" 0
	# One that was never run is a failure, too.
	count 0 "$(((${#slow[@]} + ${#fast[@]}) / 2 - $(wc -l <"$scratch/fuzz")))" 0
}

# dts_run [suite...]: end-to-end suites; all when none is named.
dts_run()
{
	local results

	[ -f "$TP_ROOT/dts/run.py" ] || return 0
	say "end-to-end suites${*:+: $*}"
	run_child python3 "$TP_ROOT/dts/run.py" --build-dir "$TP_ROOT/build" \
		--results "$scratch/dts" "$@"
	if results=$(cat "$scratch/dts" 2>/dev/null); then
		count $results
	else
		say "no results from dts/run.py"
		count 0 1 0
	fi
}

# The compiler warns falsely about instrumented code: warnings are errors in the
# plain build only.
sanitizers_run()
{
	local options=(-Dwerror=false -Doptimization=2 -Db_lundef=false)

	build_tree "$TP_ROOT/build-asan" "${options[@]}" -Db_sanitize=address,undefined \
		--for fast asan &&
		test_tree "$TP_ROOT/build-asan" --suite fast --suite asan --timeout-multiplier 4
	build_tree "$TP_ROOT/build-tsan" "${options[@]}" -Db_sanitize=thread --for tsan &&
		test_tree "$TP_ROOT/build-tsan" --suite tsan --timeout-multiplier 4
	fuzz_run
}

suites_run()
{
	local suite

	for suite in "${suites[@]}"; do
		if [ -f "$TP_ROOT/dts/tests/TestSuite_$suite.py" ]; then
			dts_run "$suite"
		else
			test_tree "$TP_ROOT/build" --suite "$suite"
		fi
	done
}

# Virtual machines are for the suites vm*, where Debian has them for this machine.
vm_packages_install()
{
	[ -z "$fast_only" ] || return 0
	case "${suites[*]:-vm}" in
	*vm*) ;;
	*) return 0 ;;
	esac
	"$TP_ROOT/devtools/install-packages.sh" vm ||
		say "no QEMU to be had: the suites of virtual machines are skipped"
}

main()
{
	"$TP_ROOT/devtools/install-packages.sh" || die "cannot install the packages"
	vm_packages_install
	scratch=$(mktemp -d /tmp/tp-test-XXXXXX)
	if build_tree "$TP_ROOT/build"; then
		if [ "${#suites[@]}" -gt 0 ]; then
			suites_run
		else
			test_tree "$TP_ROOT/build"
			[ -n "$fast_only" ] || dts_run
		fi
	fi
	[ -n "$fast_only" ] || [ "${#suites[@]}" -gt 0 ] || sanitizers_run
	if [ "$((passed + failed + skipped))" -eq 0 ]; then
		say "no test ran"
		failed=1
	fi
}

rerun_as_root "$@"
options_parse "$@"
trap on_exit EXIT
trap 'on_signal 130' INT
trap 'on_signal 143' TERM HUP
main
on_exit
say "done"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
