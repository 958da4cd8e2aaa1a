# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 Telepage developers
#
# Shell functions shared by the scripts of this folder; bash, sourced. Lab work
# (hugepages, namespaces, processes) is in dts/lab.py, not here.

TP_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Debian's python3 and meson come first: a private Python in front of them may
# lack what the packages bring.
PATH=/usr/bin:/usr/sbin:/bin:/sbin:$PATH
export PYTHONDONTWRITEBYTECODE=1
TP_SECONDS_START=$SECONDS

# One progress line, with the seconds since the script started.
say()
{
	printf '[%4ds] %s\n' "$((SECONDS - TP_SECONDS_START))" "$*"
}

die()
{
	printf '%s: %s\n' "$(basename "$0")" "$*" >&2
	exit 1
}

as_root()
{
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo -- "$@"
	else
		die "needs root, or sudo"
	fi
}

# Start the calling script again as root when it is not: rerun_as_root "$@".
rerun_as_root()
{
	[ "$(id -u)" -eq 0 ] && return
	command -v sudo >/dev/null || die "needs root, or sudo"
	exec sudo -- "$(readlink -f "$0")" "$@"
}

# What root built in a user's tree belongs to the user.
give_to_user()
{
	[ -n "${SUDO_UID:-}" ] || return 0
	local path

	for path in "$@"; do
		[ -e "$path" ] && chown -R "$SUDO_UID:${SUDO_GID:-$SUDO_UID}" "$path"
	done
	return 0
}

# Run a command in a process group of its own, so that a signal to the script
# is handled at once, not after the command: bash waits only in `wait`.
child=
run_child()
{
	local status=0

	set -m
	"$@" </dev/null &
	child=$!
	set +m
	wait "$child" || status=$?
	child=
	return "$status"
}

# End the command of run_child, if one is running: it gets 20 s to clean up.
stop_child()
{
	local i pid=$child

	[ -n "$pid" ] || return 0
	child=
	kill -TERM -- "-$pid" 2>/dev/null || return 0
	for i in $(seq 200); do
		kill -0 -- "-$pid" 2>/dev/null || return 0
		sleep 0.1
	done
	kill -KILL -- "-$pid" 2>/dev/null || return 0
}

# configure_build DIR [meson option...]: create or refresh a build directory.
configure_build()
{
	local dir=$1
	shift

	# A set-up that was interrupted leaves a folder that meson refuses.
	[ -f "$dir/build.ninja" ] || rm -rf "$dir"
	if [ -d "$dir" ]; then
		run_child meson configure "$dir" "$@" >/dev/null
	else
		run_child meson setup "$@" "$dir" "$TP_ROOT" >"$dir.log" ||
			{ cat "$dir.log"; return 1; }
		mv "$dir.log" "$dir/setup.log"
	fi
}
