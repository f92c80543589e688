#!/usr/bin/env bash
# Gives a continuous integration machine a Docker engine and an image `debian:bookworm-slim`.
#
# Only for machines that are thrown away: as root it installs packages and starts a daemon. Where no registry
# can be reached, the image is made with debootstrap, from the packages that the real one is made of.
# The last line on standard error says what is missing when it fails.
set -euo pipefail
IMAGE=debian:bookworm-slim

log() { echo "docker-bootstrap: $*" >&2; }
answers() { docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }
need_root() { [[ $(id -u) == 0 ]] || { log "$1 needs root"; exit 1; }; }

install() {
  need_root "installing $*"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq && apt-get install -qq --yes --no-install-recommends "$@" >/dev/null \
    || { log "could not install $*"; exit 1; }
}

if ! answers; then
  command -v dockerd >/dev/null || install docker.io
  need_root "starting dockerd"
  nohup dockerd </dev/null >/var/log/dockerd.log 2>&1 &
  for _ in $(seq 60); do
    answers && break
    sleep 1
  done
  answers || { log "dockerd does not answer, see /var/log/dockerd.log"; exit 1; }
fi

docker image inspect "$IMAGE" >/dev/null 2>&1 && exit 0
timeout 120 docker pull --quiet "$IMAGE" >/dev/null 2>&1 && exit 0
log "no registry answers: making $IMAGE with debootstrap"
command -v debootstrap >/dev/null || install debootstrap
need_root "debootstrap"
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
debootstrap --variant=minbase bookworm "$root" >/dev/null || { log "debootstrap failed"; exit 1; }
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
tar -C "$root" -c . | docker import --change 'CMD ["bash"]' - "$IMAGE" >/dev/null
