#!/bin/bash
# Makes localhost/debian-python:bookworm from Debian's packages, where no registry offers a base image: Python 3.11 with
# venv. Made once; prints its name. `podman rmi localhost/debian-python:bookworm` lets the next call make it anew.
set -euo pipefail

image=localhost/debian-python:bookworm
# python3-distutils: what python3.11-venv needs, under a name that debootstrap knows.
packages=ca-certificates,python3.11,python3.11-venv,python3-distutils
# Of no use in an image, or this machine's; patterns of tar's.
left_out=('./dev/*' './etc/hostname' './etc/resolv.conf' './proc/*' './sys/*' './usr/share/doc/*' './usr/share/locale/*'
  './usr/share/man/*' './var/cache/apt/*' './var/lib/apt/lists/*' './var/log/*')

fill_root() {
  local mirror
  mirror=$(apt-cache policy | sed -n 's/.* \(http[^ ]*\) bookworm\/main .*/\1/p' | head -n 1)
  debootstrap --variant=minbase --include="$packages" bookworm "$root" "$mirror" >"$work/log" 2>&1 ||
    { tail "$work/log" >&2; return 1; }
  ln -sf python3.11 "$root/usr/bin/python3"
  ln -sf python3.11 "$root/usr/bin/python"
}

make_image() {
  echo "base image: fetching Debian's packages (about a minute)" >&2
  work=$(mktemp -d)
  root=$work/root
  trap 'rm -rf --one-file-system "$work"' EXIT
  fill_root
  tar --create --numeric-owner "${left_out[@]/#/--exclude=}" --directory "$root" . |
    podman import --quiet --change CMD=python3 - "$image" >/dev/null
}

podman image exists "$image" || make_image
echo "$image"
