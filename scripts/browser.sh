#!/usr/bin/env sh
# Makes Chromium and Chinese fonts available for the tests that drive the page, where apt can.
# Without them those tests skip themselves and say so.
set -u
missing=""
for name in chromium chromium-browser google-chrome; do
    command -v "$name" >/dev/null 2>&1 && found=yes
done
[ "${found:-no}" = yes ] || missing="chromium"
if command -v fc-list >/dev/null 2>&1 && [ -n "$(fc-list :lang=zh 2>/dev/null)" ]; then :; else
    missing="$missing fonts-noto-cjk"
fi
[ -z "$missing" ] && exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "Not installed:$missing. Without Chromium the tests of the page are skipped." >&2
    exit 0
fi
as_root=""
if [ "$(id -u)" != 0 ]; then
    if sudo -n true 2>/dev/null; then
        as_root="sudo -n"
    else
        echo "Not installed: $missing. Without Chromium the tests of the page are skipped;" >&2
        echo "to run them: sudo apt-get install $missing" >&2
        exit 0
    fi
fi
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086  # both are lists of words
{ $as_root apt-get update -qq && $as_root apt-get install -y -qq --no-install-recommends $missing; } ||
    echo "Could not install: $missing. Without Chromium the tests of the page are skipped." >&2
exit 0
