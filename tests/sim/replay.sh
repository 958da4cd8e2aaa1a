#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 Telepage developers
#
# Runs the same seeds in two processes, one of them with address randomization
# and one without: every trace hash must be the same.
set -eu
sim=$1
for harness in core cluster; do
	a=$("$sim" --harness $harness --seeds 1..12 --hash | grep '^seed .* hash')
	b=$(setarch -R "$sim" --harness $harness --seeds 1..12 --hash | grep '^seed .* hash')
	if [ "$a" != "$b" ]; then
		echo "$harness: two runs of the same seeds differ"
		echo "$a" > /dev/stderr
		echo "$b" > /dev/stderr
		exit 1
	fi
	echo "$harness: 12 seeds, equal hashes"
done
