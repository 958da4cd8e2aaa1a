#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 Telepage developers
#
# install.sh BUILD SOURCE: what is installed suffices to build and run a program
# against libtelepage-sim, with what pkg-config says and nothing else.
set -eu
build=$1
source=$2
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

DESTDIR="$root" meson install -C "$build" --no-rebuild --quiet --tags devel
config=$(dirname "$(find "$root" -name libtelepage-sim.pc)")
# As if it had been installed there for good.
sed -i "s|^prefix=|prefix=$root|" "$config"/libtelepage.pc "$config"/libtelepage-sim.pc
export PKG_CONFIG_PATH="$config"
# shellcheck disable=SC2046
cc -std=gnu11 -Wall -Wextra -Werror -o "$root/program" "$source" \
	$(pkg-config --cflags --libs libtelepage-sim)
"$root/program"
