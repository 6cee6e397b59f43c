#!/bin/bash
# Makes localhost/debian-python:bookworm from Debian's packages, where no registry offers a base image: Python 3.11 with venv.
# `base-image.sh --rebuild` makes it anew, with the packages of today.
set -euo pipefail

image=localhost/debian-python:bookworm
# python3-distutils: what python3.11-venv needs, under a name that debootstrap knows.
packages=ca-certificates,python3.11,python3.11-venv,python3-distutils
mirror=$(apt-cache policy | sed -n 's/.* \(http[^ ]*\) bookworm\/main .*/\1/p' | head -n 1)

make_image() {
  local root
  root=$(mktemp -d)
  trap "rm -rf '$root'" EXIT
  echo "base image: fetching Debian's packages (about a minute)" >&2
  debootstrap --variant=minbase --include="$packages" bookworm "$root" "$mirror" >"$root.log" 2>&1 ||
    { tail "$root.log" >&2; rm "$root.log"; exit 1; }
  rm -rf "$root.log" "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/* "$root"/dev/*
  rm "$root/etc/resolv.conf" "$root/etc/hostname" # this machine's
  ln -sf python3.11 "$root/usr/bin/python3"
  ln -sf python3.11 "$root/usr/bin/python"
  tar --create --numeric-owner --directory "$root" . | podman import --quiet --change CMD=python3 - "$image" >/dev/null
}

if [ "${1:-}" = --rebuild ] || ! podman image exists "$image"; then make_image; fi
echo "$image"
