#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 Telepage developers
#
# Telepage beside what users would pick instead: UCX, libfabric, Open MPI, Redis
# and memcached, in the same namespaces, on the same cores, in turn:
#	devtools/bench-peers.sh [--rounds N] [--part latency|loss] [--append] [--dry-run]
# Installs their Debian packages, builds for speed, runs the rounds and writes the
# tables of docs/benchmarks.md and the chart docs/peers.svg. --append keeps the
# figures of the runs before, --dry-run leaves docs/ alone, --smoke is one short
# round; --help says more. The machine should do nothing else. Leaves only the
# build folder and the packages behind, also after Ctrl-C.
set -uo pipefail
. "$(dirname "$0")/lib.sh"

BUILD=$TP_ROOT/build-peers
POLICY=/usr/sbin/policy-rc.d
policy_made=

on_exit()
{
	trap - EXIT INT TERM HUP
	stop_child
	[ -z "$policy_made" ] || rm -f "$POLICY"
	give_to_user "$BUILD" "$TP_ROOT/docs/benchmarks.md" "$TP_ROOT/docs/peers.svg"
}

# The packages of Redis and memcached start them as services: not wanted, now or
# when the machine starts again.
install_peers()
{
	local service services=()

	for service in redis-server memcached; do
		command -v "$service" >/dev/null || services+=("$service")
	done
	if [ "${#services[@]}" -gt 0 ] && [ ! -e "$POLICY" ]; then
		policy_made=yes
		printf '#!/bin/sh\nexit 101\n' >"$POLICY"
		chmod +x "$POLICY"
	fi
	"$TP_ROOT/devtools/install-packages.sh" build run peers || return
	for service in "${services[@]}"; do
		[ ! -d /run/systemd/system ] || systemctl --quiet disable "$service"
	done
}

rerun_as_root "$@"
trap on_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
case " $* " in
*" --help "* | *" -h "*) exec python3 "$TP_ROOT/dts/peer_bench.py" --help ;;
esac
install_peers || die "cannot install the packages"
say "building"
configure_build "$BUILD" --buildtype=release -Dasserts=false -Dtests=false -Db_lto=true \
	-Dpeers=true || die "cannot configure the build"
run_child ninja -C "$BUILD" --quiet || die "the build failed"
run_child python3 "$TP_ROOT/dts/peer_bench.py" --build-dir "$BUILD" "$@"
