#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 Telepage developers
#
# Install the Debian packages of devtools/packages.txt that are missing.
#	devtools/install-packages.sh [class...]		default: build run test
# Touches apt only when something is missing; needs root or sudo then.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

packages_listed()
{
	local class package rest

	while read -r class package rest; do
		case " $* " in
		*" $class "*) echo "$package" ;;
		esac
	done < <(sed 's/#.*//' "$TP_ROOT/devtools/packages.txt")
}

package_is_installed()
{
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

packages_missing()
{
	local package

	for package in "$@"; do
		package_is_installed "$package" || echo "$package"
	done
}

# Someone who watches sees apt at work; a log gets its output only on failure.
apt_get()
{
	local log status=0

	set -- as_root env DEBIAN_FRONTEND=noninteractive apt-get -y -q \
		-o DPkg::Lock::Timeout=300 "$@"
	if [ -t 1 ]; then
		"$@" </dev/null
		return
	fi
	log=$(mktemp)
	"$@" </dev/null >"$log" 2>&1 || status=$?
	[ "$status" -eq 0 ] || tail -n 40 "$log"
	rm -f "$log"
	return "$status"
}

# Package lists may be absent (a bare image) or older than the mirror: the
# first try uses what is there, the second refreshes the lists.
packages_install()
{
	if [ -n "$(find /var/lib/apt/lists -name '*_Packages*' -print -quit 2>/dev/null)" ]; then
		apt_get install --no-install-recommends "$@" && return
	fi
	say "refreshing the package lists"
	apt_get update
	apt_get install --no-install-recommends "$@"
}

mapfile -t listed < <(packages_listed "${@:-build run test}")
mapfile -t missing < <(packages_missing "${listed[@]}")
[ "${#missing[@]}" -eq 0 ] && exit 0
say "installing ${#missing[@]} packages: ${missing[*]}"
packages_install "${missing[@]}"
