#!/usr/bin/env bash
# Gives a continuous integration machine Debian's Chromium and its driver, for the tests of the leaderboard's site.
#
# Only for machines that are thrown away: as root it installs packages.
# The last line on standard error says what is missing when it fails.
set -euo pipefail

log() { echo "chromium-bootstrap: $*" >&2; }

command -v chromium >/dev/null && command -v chromedriver >/dev/null && exit 0
command -v apt-get >/dev/null || { log "there is no apt-get to install chromium with"; exit 1; }
[[ $(id -u) == 0 ]] || { log "installing chromium needs root"; exit 1; }
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq && apt-get install -qq --yes --no-install-recommends chromium chromium-driver >/dev/null \
  || { log "could not install chromium and chromium-driver"; exit 1; }
