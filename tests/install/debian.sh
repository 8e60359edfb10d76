#!/bin/bash
# Install, use, upgrade, remove and purge the Debian package beside a CKAN.
#
#   unshare … tests/install/debian.sh    (overlay.sh has the options)
#   RELEASE CONSTRAINTS WHEELS INI DATASET PACKAGE.deb
set -euo pipefail
release=$1 constraints=$2 wheels=$3 ini=$4 dataset=$5 deb=$6
. "$(dirname "$0")/overlay.sh"

make_copy
cp "$deb" "$work/system/tmp/package.deb"

step "without a CKAN the package says what it lacks, and is installed all the same"
in_copy dpkg -i /tmp/package.deb 2>&1 | tee "$work/said"
grep -q "there is no virtual environment with pip in $venv" "$work/said"
in_copy dpkg --purge ckanext-archiver

install_ckan "$release" "$constraints" "$wheels"
packages >"$work/before"

step "beside a CKAN it changes nothing that was there"
in_copy dpkg -i /tmp/package.deb
in_copy "$venv/bin/pip" check
packages >"$work/after"
test -z "$(comm -23 "$work/before" "$work/after")"
grep -q "^ckanext-archiver==" "$work/after"
test -d "$work/system/var/lib/ckan/archiver"

step "a link is archived"
"${enter[@]}" "$venv/bin/ckan" -c "$ini" archiver worker --queue priority >"$work/worker.log" 2>&1 &
worker=$!
await_archival "$ini" "$dataset" || { cat "$work/worker.log"; exit 1; }
kill "$worker"
wait "$worker" || true

step "an upgrade"
dpkg-deb -R "$deb" "$work/newer"
sed -i 's/^Version: .*/Version: 99.0/' "$work/newer/DEBIAN/control"
dpkg-deb -b "$work/newer" "$work/system/tmp/newer.deb" >/dev/null
in_copy dpkg -i /tmp/newer.deb
packages | cmp - "$work/after"

step "removal takes exactly its own"
in_copy dpkg --remove ckanext-archiver
packages | cmp - "$work/before"
test -e "$work/system/etc/default/ckanext-archiver" # configuration stays until the purge
in_copy dpkg --purge ckanext-archiver
left=$(find "$work/system"/{etc,usr/lib,usr/share,lib/systemd,var/lib} -name '*ckanext-archiver*' \
    -not -path '*/var/lib/dpkg/*' -not -path "*$venv/*")
test -z "$left" || { echo "left behind: $left"; exit 1; }

step "passed"
