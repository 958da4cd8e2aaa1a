#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 Telepage developers
#
# The example of persistent memory as a test: three runs on one pool.
#
# usage: pmem_accounts.sh PROGRAM
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for run in 1 2 3; do
	"$1" "$folder/pool" > "$folder/out"
	cat "$folder/out"
	grep -qx "run $run, sum 300" "$folder/out"
done
# A name is not a pool.
if "$1" "$folder" 2> /dev/null; then
	exit 1
fi
