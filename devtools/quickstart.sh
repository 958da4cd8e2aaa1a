#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 Telepage developers
#
# From a bare Debian 12 machine to three nodes that share memory:
#	devtools/quickstart.sh [options of dts/quickstart.py]
# Installs the packages that are missing, builds, and runs the demonstration.
# Leaves only the build folder behind, also after Ctrl-C.
set -uo pipefail
. "$(dirname "$0")/lib.sh"

programs=(telepaged telepage dts/telepage-load)

on_exit()
{
	trap - EXIT INT TERM HUP
	stop_child
	give_to_user "$TP_ROOT/build"
}

# Ninja's own progress line where someone watches; without one, no line an edge.
build_programs()
{
	local quiet=--quiet

	[ -t 1 ] && quiet=
	configure_build "$TP_ROOT/build" || die "cannot configure the build"
	say "building"
	run_child ninja -C "$TP_ROOT/build" $quiet "${programs[@]}" || die "the build failed"
}

rerun_as_root "$@"
trap on_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
"$TP_ROOT/devtools/install-packages.sh" build run || die "cannot install the packages"
build_programs
on_exit
exec python3 "$TP_ROOT/dts/quickstart.py" --build-dir "$TP_ROOT/build" "$@"
