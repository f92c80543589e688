#!/bin/sh
# Takes Debian's packages as they were at the moment in debian.snapshot, so that a later build gets the same ones.
# Debian's own images name the address of their snapshot in a comment; DEBIAN_SNAPSHOTS names another one, up to
# the date. Where there is neither, packages are those of the day, and `harness image verify` tells which differ.
set -eu
moment=$(grep -v '^#' "$(dirname "$0")/debian.snapshot")
sources=$(ls /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null || true)
base=${DEBIAN_SNAPSHOTS:-}
if [ -z "$base" ] && [ -n "$sources" ]; then
  # shellcheck disable=SC2086
  base=$(sed -n 's|^# *\(http.*/archive\)/debian/[0-9TZ]*.*|\1|p' $sources | head -n 1)
fi
if [ -z "$base" ]; then
  echo "no address of snapshots is known: packages are those of today" >&2
  echo unpinned >/etc/wsss-harness-debian
  apt-get update
  exit 0
fi
rm -f $sources
cat >/etc/apt/sources.list <<END
deb [check-valid-until=no] $base/debian/$moment bookworm main
deb [check-valid-until=no] $base/debian/$moment bookworm-updates main
deb [check-valid-until=no] $base/debian-security/$moment bookworm-security main
END
# What the image brought along goes back to that moment, too.
printf 'Package: *\nPin: release n=bookworm*\nPin-Priority: 1001\n' >/etc/apt/preferences.d/snapshot
echo "$moment" >/etc/wsss-harness-debian
apt-get update
apt-get dist-upgrade --yes --allow-downgrades
